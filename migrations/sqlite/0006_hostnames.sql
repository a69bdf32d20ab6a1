-- What customers and operators set by the API.
CREATE TABLE organizations (
    name       TEXT    PRIMARY KEY NOT NULL,
    quota      INTEGER,                      -- hostnames at most; NULL: the configuration's number
    used       INTEGER NOT NULL DEFAULT 0,   -- hostnames it has
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id           TEXT    PRIMARY KEY NOT NULL,
    organization TEXT    NOT NULL,           -- *: all
    scope        TEXT    NOT NULL,
    hash         BLOB    NOT NULL,           -- SHA-256 of the secret
    note         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_by_organization ON tokens (organization, id);

CREATE TABLE sites (
    name         TEXT    PRIMARY KEY NOT NULL,
    organization TEXT    NOT NULL,
    origins      TEXT    NOT NULL,           -- JSON list
    cname_target TEXT,
    version      INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sites_by_organization ON sites (organization, name);

CREATE TABLE hostnames (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    name            TEXT    NOT NULL,        -- hostname or *.parent
    organization    TEXT    NOT NULL,
    site            TEXT    NOT NULL,
    via             TEXT    NOT NULL,
    holder          INTEGER NOT NULL,        -- 1: requests for the name go to this one
    preview         TEXT    NOT NULL,
    proof           TEXT    NOT NULL,
    origin          TEXT,
    redirect_to     TEXT,
    redirect_status INTEGER,
    metadata        TEXT,                    -- a JSON object
    state           TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    diagnosis       TEXT,                    -- JSON
    looks           INTEGER NOT NULL,
    looked_at       INTEGER,
    look_at         INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX hostnames_by_organization ON hostnames (organization, name);

CREATE UNIQUE INDEX hostnames_held ON hostnames (name) WHERE holder = 1;

CREATE INDEX hostnames_by_name ON hostnames (name, id);

CREATE INDEX hostnames_by_site ON hostnames (site, name, id);

CREATE INDEX hostnames_by_state ON hostnames (state, name, id);

CREATE INDEX hostnames_by_organization_and_state ON hostnames (organization, state, name);

CREATE INDEX hostnames_by_site_and_state ON hostnames (site, state, name, id);

CREATE INDEX hostnames_by_look ON hostnames (look_at);

-- Finds a part of a name anywhere in it.
CREATE VIRTUAL TABLE hostname_texts USING fts5 (name, content = '', contentless_delete = 1, tokenize = 'trigram');

-- What an organization was given for a name; stays when the hostname is deleted, so that a customer
-- never has to set a record twice.
CREATE TABLE proofs (
    organization TEXT NOT NULL,
    name         TEXT NOT NULL,
    preview      TEXT UNIQUE NOT NULL,       -- first label of the preview hostname
    proof        TEXT NOT NULL,              -- value of the TXT record
    PRIMARY KEY (organization, name)
) STRICT, WITHOUT ROWID;

-- Whose a name is; stays when the hostname is deleted, so that nobody else can take it over.
CREATE TABLE claims (
    name         TEXT    PRIMARY KEY NOT NULL,
    organization TEXT    NOT NULL,
    proof        TEXT    NOT NULL,
    since        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the routing table has to look at again.
CREATE TABLE changes (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT                                -- NULL: a site
) STRICT;

CREATE TABLE events (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    organization TEXT    NOT NULL,
    site         TEXT,
    hostname     TEXT,
    kind         TEXT    NOT NULL,
    actor        TEXT,                       -- NULL: it happened by itself
    detail       TEXT    NOT NULL            -- a JSON object
) STRICT;

CREATE INDEX events_by_hostname ON events (hostname, id);

CREATE INDEX events_by_organization ON events (organization, id);

CREATE INDEX events_asked_for ON events (organization, id) WHERE actor IS NOT NULL;

CREATE INDEX events_asked_for_by_anybody ON events (id) WHERE actor IS NOT NULL;

CREATE INDEX events_by_themselves ON events (id) WHERE actor IS NULL;

-- Names that have a certificate or were tried, and that are not listed as hostnames yet.
CREATE TABLE unlisted (
    name TEXT PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO unlisted SELECT name FROM certificates;

CREATE TRIGGER certificates_of_nobody AFTER INSERT ON certificates
WHEN NOT EXISTS (SELECT 1 FROM hostnames WHERE name = NEW.name)
BEGIN
    INSERT OR IGNORE INTO unlisted (name) VALUES (NEW.name);
END;

CREATE TRIGGER attempts_of_nobody AFTER INSERT ON attempts
WHEN NOT EXISTS (SELECT 1 FROM hostnames WHERE name = NEW.hostname)
BEGIN
    INSERT OR IGNORE INTO unlisted (name) VALUES (NEW.hostname);
END;

-- 1: its hostname was deleted, so it is neither served nor renewed.
ALTER TABLE certificates ADD COLUMN withheld INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER certificates_back_for_nobody AFTER UPDATE OF withheld ON certificates
WHEN OLD.withheld = 1 AND NEW.withheld = 0
    AND NOT EXISTS (SELECT 1 FROM hostnames WHERE name = NEW.name)
BEGIN
    INSERT OR IGNORE INTO unlisted (name) VALUES (NEW.name);
END;

-- Whether somebody was told that it is late.
ALTER TABLE certificates ADD COLUMN told INTEGER NOT NULL DEFAULT 0;

CREATE INDEX certificates_to_tell ON certificates (late_at) WHERE told = 0 AND late_at IS NOT NULL AND parked IS NULL;
