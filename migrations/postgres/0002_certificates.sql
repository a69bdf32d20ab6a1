-- Certificates, and what is done to obtain them.

-- One row is one whole certificate: a reader sees the old one or the new one, never a mixture.
CREATE TABLE certificates (
    name         text COLLATE "C"     PRIMARY KEY,       -- hostname or *.parent
    chain        bytea    NOT NULL,          -- leaf first; for each certificate its length (4, big-endian), its DER
    sealed_key   bytea    NOT NULL,          -- the private key; its seal holds name and chain too
    key_type     text COLLATE "C"     NOT NULL,
    not_before   bigint   NOT NULL,
    not_after    bigint   NOT NULL,
    source       text COLLATE "C"     NOT NULL,          -- JSON
    saved_at     bigint   NOT NULL,
    renew_at     bigint,                     -- NULL: it is not renewed
    late_at      bigint,                     -- from this moment on its renewal is late
    ask_at       bigint,                     -- when to ask for renewal information (RFC 9773); NULL: never
    window_start bigint,                     -- the window that was named last
    window_end   bigint,
    early        bigint   NOT NULL DEFAULT 0, -- how often in a row one was replaced in the first third of its life
    parked       text COLLATE "C",                       -- why nothing more is ordered for it
    withheld     boolean  NOT NULL DEFAULT false, -- its hostname was deleted: it is neither served nor renewed
    told         boolean  NOT NULL DEFAULT false, -- whether somebody was told that it is late
    claimed_until bigint                     -- until when its renewal is one machine's; NULL: nobody's
);

-- What is handed out is found in an index alone: late ones first, then the others.
CREATE INDEX certificates_by_renewal ON certificates (renew_at, late_at, claimed_until)
    WHERE renew_at IS NOT NULL;

CREATE INDEX certificates_by_question ON certificates (ask_at) WHERE ask_at IS NOT NULL;

CREATE INDEX certificates_by_lateness ON certificates (late_at, renew_at, claimed_until)
    WHERE late_at IS NOT NULL AND parked IS NULL;

CREATE INDEX certificates_to_tell ON certificates (late_at)
    WHERE NOT told AND late_at IS NOT NULL AND parked IS NULL;

CREATE INDEX certificates_parked ON certificates (name) WHERE parked IS NOT NULL;

-- A count by the end reads these and no row.
CREATE INDEX certificates_in_use_by_end ON certificates (not_after) WHERE NOT withheld;

CREATE INDEX certificates_in_use_by_name ON certificates (name, not_after) WHERE NOT withheld;

CREATE FUNCTION certificate_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (kind, name) VALUES ('certificate', coalesce(NEW.name, OLD.name));
    RETURN NULL;
END $$;

CREATE TRIGGER certificates_set AFTER INSERT OR DELETE ON certificates
    FOR EACH ROW EXECUTE FUNCTION certificate_changed();

CREATE TRIGGER certificates_replaced AFTER UPDATE OF chain, withheld ON certificates
    FOR EACH ROW WHEN (OLD.withheld <> NEW.withheld OR OLD.chain <> NEW.chain)
    EXECUTE FUNCTION certificate_changed();

-- Rows of certificates that could not be used, as they were, for somebody to look at.
CREATE TABLE quarantine (
    name       text COLLATE "C"   NOT NULL,
    chain      bytea,
    sealed_key bytea,
    key_type   text COLLATE "C",
    not_before bigint,
    not_after  bigint,
    source     text COLLATE "C",
    moved_at   bigint NOT NULL,
    why        text COLLATE "C"   NOT NULL
);

-- Each lease gets a token above all that were given before, also of names whose row is gone.
CREATE SEQUENCE lease_tokens;

CREATE TABLE leases (
    name    text COLLATE "C"   PRIMARY KEY,
    token   bigint NOT NULL,
    expires bigint NOT NULL                  -- by unix_now()
);

CREATE TABLE attempts (
    hostname           text COLLATE "C"   PRIMARY KEY,
    ended_at           bigint NOT NULL,
    failures           bigint NOT NULL,
    next_at            bigint,               -- NULL after a success
    report             text COLLATE "C"   NOT NULL,
    failed_validations text COLLATE "C"   NOT NULL       -- when an authority said so, newest first, as JSON
);

CREATE TABLE accounts (
    key                text COLLATE "C"  PRIMARY KEY,    -- directory URL and contact
    sealed_credentials bytea NOT NULL
);

-- How each authority does, so that no machine asks one that wants to be left alone.
CREATE TABLE authorities (
    name         text COLLATE "C"   PRIMARY KEY,
    failures     bigint NOT NULL,            -- in a row
    closed_until bigint NOT NULL,            -- it is not asked before
    reason       text COLLATE "C"   NOT NULL
);

-- Orders that were placed.
CREATE TABLE orders (
    authority text COLLATE "C"   NOT NULL,
    account   bigint NOT NULL DEFAULT 0,     -- which of ours at the authority placed it, counted from 0
    hostname  text COLLATE "C"   NOT NULL,
    domain    text COLLATE "C"   NOT NULL,               -- registrable domain of the hostname
    placed_at bigint NOT NULL                -- by unix_now()
);

CREATE INDEX orders_by_authority ON orders (authority, placed_at);

CREATE INDEX orders_by_account ON orders (authority, account, placed_at);

CREATE INDEX orders_by_domain ON orders (authority, domain, placed_at);

CREATE INDEX orders_by_hostname ON orders (authority, hostname, placed_at);

-- Notes an order where all bounds allow it: `remaining` is then how many more fit into the tightest bound on the
-- account. Else `until` is the moment at which all of them will, and `for_any` the one at which those on the
-- account will. One call for an authority at a time, by the database's time, so that many machines keep to
-- one limit.
-- scopes: authority, domain or hostname; of each bound its count and its seconds. kept: for how long an
-- order stays noted.
CREATE FUNCTION place_order(of_authority text, of_account bigint, of_hostname text, of_domain text, scopes text[],
    counts bigint[], seconds bigint[], kept bigint, OUT remaining bigint, OUT until bigint, OUT for_any bigint)
LANGUAGE plpgsql AS $$
DECLARE
    moment bigint;
    there  bigint;
    first  bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('nameplate orders'), hashtext(of_authority));
    moment := unix_now();
    FOR bound IN 1 .. coalesce(array_length(scopes, 1), 0) LOOP
        IF scopes[bound] = 'authority' THEN
            SELECT count(*), min(placed_at) INTO there, first FROM (
                SELECT placed_at FROM orders
                WHERE authority = of_authority AND account = of_account AND placed_at > moment - seconds[bound]
                ORDER BY placed_at DESC LIMIT counts[bound]) AS newest;
            remaining := least(remaining, counts[bound] - there);
        ELSIF scopes[bound] = 'domain' THEN
            SELECT count(*), min(placed_at) INTO there, first FROM (
                SELECT placed_at FROM orders
                WHERE authority = of_authority AND domain = of_domain AND placed_at > moment - seconds[bound]
                ORDER BY placed_at DESC LIMIT counts[bound]) AS newest;
        ELSE
            SELECT count(*), min(placed_at) INTO there, first FROM (
                SELECT placed_at FROM orders
                WHERE authority = of_authority AND hostname = of_hostname AND placed_at > moment - seconds[bound]
                ORDER BY placed_at DESC LIMIT counts[bound]) AS newest;
        END IF;
        -- Once the first of those that fill the bound is old enough, there is room again.
        IF there >= counts[bound] THEN
            until := greatest(until, first + seconds[bound]);
            IF scopes[bound] = 'authority' THEN
                for_any := greatest(for_any, first + seconds[bound]);
            END IF;
        END IF;
    END LOOP;
    IF until IS NULL THEN
        INSERT INTO orders (authority, account, hostname, domain, placed_at)
        VALUES (of_authority, of_account, of_hostname, of_domain, moment);
        DELETE FROM orders WHERE authority = of_authority AND placed_at <= moment - kept;
        remaining := remaining - 1;
    END IF;
END $$;

-- Orders whose certificate was asked for and is not saved yet: whoever comes next takes them up.
CREATE TABLE unfinished_orders (
    name       text COLLATE "C"   PRIMARY KEY,
    authority  text COLLATE "C"   NOT NULL,
    account    bigint NOT NULL DEFAULT 0,    -- which of ours at the authority placed it
    url        text COLLATE "C"   NOT NULL,
    sealed_key bytea  NOT NULL,              -- the certificate's private key
    key_type   text COLLATE "C"   NOT NULL,
    placed_at  bigint NOT NULL
);

CREATE INDEX unfinished_orders_by_age ON unfinished_orders (placed_at);

CREATE TABLE challenges (
    kind    text COLLATE "C"   NOT NULL, -- http-01: key is the token; tls-alpn-01: the hostname; dns-01: the owner name
    key     text COLLATE "C"   NOT NULL,
    answer  text COLLATE "C"   NOT NULL,
    expires bigint NOT NULL, -- by unix_now()
    PRIMARY KEY (kind, key, answer)
);

CREATE INDEX challenges_by_expiry ON challenges (expires);

-- TXT records that were written at somebody's name servers, until they are removed there.
CREATE TABLE written_records (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text COLLATE "C"   NOT NULL,   -- the certificate's, on which a lease is held while the record is wanted
    zone  text COLLATE "C"   NOT NULL,   -- the zone of the configuration by whose access it was written
    owner text COLLATE "C"   NOT NULL,
    value text COLLATE "C"   NOT NULL,
    UNIQUE (owner, value)
);

-- Certificates that must not be served again, and whether their authority has been told.
CREATE TABLE revocations (
    fingerprint bytea  PRIMARY KEY,          -- SHA-256 of the certificate
    name        text COLLATE "C"   NOT NULL,
    leaf        bytea  NOT NULL,             -- its DER
    authority   text COLLATE "C",                        -- who gave it; NULL: nobody that could be told
    reason      bigint NOT NULL,             -- RFC 5280 section 5.3.1
    asked_at    bigint NOT NULL,
    not_after   bigint NOT NULL,
    next_at     bigint,                      -- when the authority is told; NULL: that is through
    failures    bigint NOT NULL,
    report      text COLLATE "C"   NOT NULL
);

CREATE INDEX revocations_to_tell ON revocations (next_at) WHERE next_at IS NOT NULL;

CREATE INDEX revocations_by_end ON revocations (not_after);

-- Certificates that organizations bring for their hostnames themselves: of each family of keys one.
-- Those of whoever holds the name are served; they go with their hostname.
CREATE TABLE own_certificates (
    id           text COLLATE "C"    PRIMARY KEY,        -- name, organization and family, with a space between them
    name         text COLLATE "C"    NOT NULL,
    organization text COLLATE "C"    NOT NULL,
    family       text COLLATE "C"    NOT NULL,           -- ecdsa, rsa, ed25519
    fingerprint  bytea   NOT NULL,           -- SHA-256 of the leaf
    chain        bytea   NOT NULL,           -- as in certificates
    sealed_key   bytea   NOT NULL,           -- the private key; its seal holds id and chain too
    key_type     text COLLATE "C"    NOT NULL,
    not_before   bigint  NOT NULL,
    not_after    bigint  NOT NULL,
    saved_at     bigint  NOT NULL,
    fall_back_at bigint  NOT NULL,           -- when another one is tried for, to be there for its end
    tell_at      bigint  NOT NULL,           -- when somebody is to be told that it ends
    told         boolean NOT NULL DEFAULT false -- whether somebody was told that it ends
);

CREATE INDEX own_certificates_by_name ON own_certificates (name, organization, not_after);

CREATE INDEX own_certificates_by_fall_back ON own_certificates (fall_back_at);

CREATE INDEX own_certificates_by_end ON own_certificates (not_after);

CREATE INDEX own_certificates_to_tell ON own_certificates (tell_at) WHERE NOT told;

CREATE FUNCTION own_certificate_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (kind, name) VALUES ('own', coalesce(NEW.name, OLD.name));
    RETURN NULL;
END $$;

CREATE TRIGGER own_certificates_set AFTER INSERT OR DELETE OR UPDATE OF fingerprint ON own_certificates
    FOR EACH ROW EXECUTE FUNCTION own_certificate_changed();

CREATE TABLE own_quarantine (
    id         text COLLATE "C"   NOT NULL,
    chain      bytea,
    sealed_key bytea,
    key_type   text COLLATE "C",
    moved_at   bigint NOT NULL,
    why        text COLLATE "C"   NOT NULL
);
