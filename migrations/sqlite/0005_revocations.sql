-- Certificates that must not be served again, and whether their authority has been told.
CREATE TABLE revocations (
    fingerprint BLOB    PRIMARY KEY NOT NULL, -- SHA-256 of the certificate
    name        TEXT    NOT NULL,
    leaf        BLOB    NOT NULL,             -- its DER
    authority   TEXT,                         -- who gave it; NULL: nobody that could be told
    reason      INTEGER NOT NULL,             -- RFC 5280 section 5.3.1
    asked_at    INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    next_at     INTEGER,                      -- when the authority is told; NULL: that is through
    failures    INTEGER NOT NULL,
    report      TEXT    NOT NULL
) STRICT;

CREATE INDEX revocations_to_tell ON revocations (next_at) WHERE next_at IS NOT NULL;

CREATE INDEX revocations_by_end ON revocations (not_after);
