-- dns-01: several answers at once under one owner name, as for `x` and `*.x`.
DROP TABLE challenges;

CREATE TABLE challenges (
    kind    TEXT    NOT NULL, -- http-01: key is the token; tls-alpn-01: the hostname; dns-01: the owner name
    key     TEXT    NOT NULL,
    answer  TEXT    NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (kind, key, answer)
) STRICT, WITHOUT ROWID;

CREATE INDEX challenges_by_expiry ON challenges (expires);

-- TXT records that were written at somebody's name servers, until they are removed there.
CREATE TABLE written_records (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL, -- the certificate's, on which a lease is held while the record is wanted
    zone  TEXT NOT NULL, -- the zone of the configuration by whose access it was written
    owner TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (owner, value)
) STRICT;

-- Wildcards are renewed as others are; until now none of them was due. Withheld ones stay as they are.
UPDATE certificates
SET renew_at = not_after - (not_after - not_before) / 10,
    late_at = not_after - (not_after - not_before) / 20
WHERE renew_at IS NULL AND withheld = 0 AND name LIKE '*.%';
