// Loads the page again every few seconds, as long as somebody looks at it and does nothing with it:
// what they typed, marked or went to with the keyboard stays.
"use strict";
(() => {
  // What was done is said once.
  if (location.search.match(/[?&](checked|deleted)=/)) {
    history.replaceState(null, "", location.pathname);
  }
  const seconds = Number(document.body.dataset.refresh);
  if (!seconds) return;
  const busy = () => {
    const at = document.activeElement;
    const main = document.getElementById("main");
    return document.hidden || (at && at !== document.body && at !== main) || !getSelection().isCollapsed;
  };
  setInterval(() => { if (!busy()) location.reload(); }, seconds * 1000);
})();
