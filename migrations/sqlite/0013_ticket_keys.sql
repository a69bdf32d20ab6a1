-- Keys of TLS session tickets. The one that was added last stays, so that serials only grow.
CREATE TABLE ticket_keys (
    serial     INTEGER PRIMARY KEY NOT NULL, -- how many were added before it, and one
    name       TEXT    NOT NULL UNIQUE,      -- what its tickets begin with, in hexadecimal
    sealed_key BLOB    NOT NULL,             -- the whole key: its secrets and its times
    ends_at    INTEGER NOT NULL              -- seconds since 1970; it decrypts until then
) STRICT;

CREATE INDEX ticket_keys_by_end ON ticket_keys (ends_at);
