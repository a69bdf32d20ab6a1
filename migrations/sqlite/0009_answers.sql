-- Answers of the API to requests with an Idempotency-Key.
CREATE TABLE answers (
    id            TEXT    PRIMARY KEY NOT NULL, -- SHA-256 of caller and key
    caller        TEXT    NOT NULL,
    fingerprint   BLOB    NOT NULL,             -- of the request
    sealed_answer BLOB,                         -- NULL: the request is under way
    until         INTEGER NOT NULL              -- somebody is at it, or it is kept, until then
) STRICT;

CREATE INDEX answers_by_end ON answers (until);

CREATE INDEX answers_by_caller ON answers (caller, until) WHERE sealed_answer IS NOT NULL;
