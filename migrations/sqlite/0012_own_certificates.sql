-- Certificates that organizations bring for their hostnames themselves: of each family of keys one.
-- Those of whoever holds the name are served; they go with their hostname.
CREATE TABLE own_certificates (
    id           TEXT    PRIMARY KEY NOT NULL, -- name, organization and family, with a space between them
    name         TEXT    NOT NULL,
    organization TEXT    NOT NULL,
    family       TEXT    NOT NULL,             -- ecdsa, rsa, ed25519
    fingerprint  BLOB    NOT NULL,             -- SHA-256 of the leaf
    chain        BLOB    NOT NULL,             -- as in certificates
    sealed_key   BLOB    NOT NULL,             -- the private key; its seal holds id and chain too
    key_type     TEXT    NOT NULL,
    not_before   INTEGER NOT NULL,             -- seconds since 1970
    not_after    INTEGER NOT NULL,
    saved_at     INTEGER NOT NULL,
    fall_back_at INTEGER NOT NULL,             -- when another one is tried for, to be there for its end
    tell_at      INTEGER NOT NULL,             -- when somebody is to be told that it ends
    told         INTEGER NOT NULL DEFAULT 0    -- whether somebody was told that it ends
) STRICT;

CREATE INDEX own_certificates_by_name ON own_certificates (name, organization, not_after);

CREATE INDEX own_certificates_by_fall_back ON own_certificates (fall_back_at);

CREATE INDEX own_certificates_by_end ON own_certificates (not_after);

CREATE INDEX own_certificates_to_tell ON own_certificates (tell_at) WHERE told = 0;

-- Names whose own certificates every machine has to look at again.
CREATE TABLE own_changes (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT    NOT NULL
) STRICT;

CREATE TRIGGER own_certificates_set AFTER INSERT ON own_certificates
BEGIN
    INSERT INTO own_changes (name) VALUES (NEW.name);
END;

CREATE TRIGGER own_certificates_replaced AFTER UPDATE OF fingerprint ON own_certificates
BEGIN
    INSERT INTO own_changes (name) VALUES (NEW.name);
END;

CREATE TRIGGER own_certificates_removed AFTER DELETE ON own_certificates
BEGIN
    INSERT INTO own_changes (name) VALUES (OLD.name);
END;

CREATE TRIGGER own_certificates_of_another_holder AFTER UPDATE OF holder ON hostnames
WHEN OLD.holder <> NEW.holder AND EXISTS (SELECT 1 FROM own_certificates WHERE name = NEW.name)
BEGIN
    INSERT INTO own_changes (name) VALUES (NEW.name);
END;

CREATE TRIGGER own_certificates_of_a_new_holder AFTER INSERT ON hostnames
WHEN NEW.holder = 1 AND EXISTS (SELECT 1 FROM own_certificates WHERE name = NEW.name)
BEGIN
    INSERT INTO own_changes (name) VALUES (NEW.name);
END;

CREATE TRIGGER own_certificates_go_with_their_hostname AFTER DELETE ON hostnames
BEGIN
    DELETE FROM own_certificates WHERE name = OLD.name AND organization = OLD.organization;
END;

CREATE TABLE own_quarantine (
    id         TEXT    NOT NULL,
    chain      BLOB,
    sealed_key BLOB,
    key_type   TEXT,
    moved_at   INTEGER NOT NULL,
    why        TEXT    NOT NULL
) STRICT;
