-- Rows of certificates that could not be used, as they were, for somebody to look at.
CREATE TABLE quarantine (
    name       TEXT    NOT NULL,
    chain      BLOB,
    sealed_key BLOB,
    key_type   TEXT,
    not_before INTEGER,
    not_after  INTEGER,
    source     TEXT,
    moved_at   INTEGER NOT NULL,
    why        TEXT    NOT NULL
) STRICT;
