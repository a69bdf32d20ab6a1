-- Who serves from this store.
CREATE TABLE machines (
    id      TEXT    PRIMARY KEY NOT NULL,
    said    TEXT    NOT NULL,                -- JSON: what it says of itself
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
