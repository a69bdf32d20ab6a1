-- One row is one whole certificate: a reader sees the old one or the new one, never a mixture.
CREATE TABLE certificates (
    name       TEXT    PRIMARY KEY NOT NULL, -- hostname or *.parent
    chain      BLOB    NOT NULL,             -- leaf first; for each certificate its length (4, big-endian), its DER
    sealed_key BLOB    NOT NULL,             -- the private key; its seal holds name and chain too
    key_type   TEXT    NOT NULL,
    not_before INTEGER NOT NULL,             -- seconds since 1970
    not_after  INTEGER NOT NULL,
    source     TEXT    NOT NULL,             -- JSON
    saved_at   INTEGER NOT NULL
) STRICT;

-- AUTOINCREMENT never gives a token twice, also not after its row is gone.
CREATE TABLE leases (
    token   INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT    UNIQUE NOT NULL,
    expires INTEGER NOT NULL
) STRICT;

CREATE TABLE challenges (
    kind    TEXT    NOT NULL, -- http-01: key is the token; tls-alpn-01: key is the hostname
    key     TEXT    NOT NULL,
    answer  TEXT    NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX challenges_by_expiry ON challenges (expires);

CREATE TABLE attempts (
    hostname TEXT    PRIMARY KEY NOT NULL,
    ended_at INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    next_at  INTEGER,                        -- NULL after a success
    report   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    key                TEXT PRIMARY KEY NOT NULL, -- directory URL and contact
    sealed_credentials BLOB NOT NULL
) STRICT;

-- The key that this store is sealed with, so that a wrong one is noticed at once.
CREATE TABLE sealing_keys (
    id TEXT PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;
