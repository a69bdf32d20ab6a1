-- Renewal information (RFC 9773): when to ask for it, and the window that was named last.
ALTER TABLE certificates ADD COLUMN ask_at INTEGER;       -- NULL: it is not asked for
ALTER TABLE certificates ADD COLUMN window_start INTEGER;
ALTER TABLE certificates ADD COLUMN window_end INTEGER;

-- How often in a row a certificate of this name was replaced in the first third of its life.
ALTER TABLE certificates ADD COLUMN early INTEGER NOT NULL DEFAULT 0;

-- From this moment on its renewal is late.
ALTER TABLE certificates ADD COLUMN late_at INTEGER;

-- Why nothing more is ordered for it; NULL: it is not parked.
ALTER TABLE certificates ADD COLUMN parked TEXT;

UPDATE certificates SET late_at = not_after - (not_after - not_before) / 6, ask_at = renew_at
WHERE renew_at IS NOT NULL;

CREATE INDEX certificates_by_question ON certificates (ask_at) WHERE ask_at IS NOT NULL;

CREATE INDEX certificates_by_lateness ON certificates (late_at) WHERE late_at IS NOT NULL AND parked IS NULL;

CREATE INDEX certificates_parked ON certificates (name) WHERE parked IS NOT NULL;

-- When an authority said that a validation failed, newest first, as JSON.
ALTER TABLE attempts ADD COLUMN failed_validations TEXT NOT NULL DEFAULT '[]';

-- How each authority does, so that a restart does not ask one that wants to be left alone.
CREATE TABLE authorities (
    name         TEXT    PRIMARY KEY NOT NULL,
    failures     INTEGER NOT NULL,         -- in a row
    closed_until INTEGER NOT NULL,         -- it is not asked before
    reason       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Orders that were placed where an authority's limits are kept to.
CREATE TABLE orders (
    authority TEXT    NOT NULL,
    hostname  TEXT    NOT NULL,
    domain    TEXT    NOT NULL,            -- registrable domain of the hostname
    placed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX orders_by_authority ON orders (authority, placed_at);

CREATE INDEX orders_by_domain ON orders (authority, domain, placed_at);

CREATE INDEX orders_by_hostname ON orders (authority, hostname, placed_at);

-- Orders whose certificate was asked for and is not saved yet: whoever comes next takes them up.
CREATE TABLE unfinished_orders (
    name       TEXT    PRIMARY KEY NOT NULL,
    authority  TEXT    NOT NULL,
    url        TEXT    NOT NULL,
    sealed_key BLOB    NOT NULL,           -- the certificate's private key
    key_type   TEXT    NOT NULL,
    placed_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
