-- Keys of TLS session tickets. The one that was added last stays, so that serials only grow.
CREATE TABLE ticket_keys (
    serial     bigint PRIMARY KEY,           -- how many were added before it, and one
    name       text COLLATE "C" NOT NULL UNIQUE, -- what its tickets begin with, in hexadecimal
    sealed_key bytea  NOT NULL,              -- the whole key: its secrets and its times
    ends_at    bigint NOT NULL               -- it decrypts until then
);

CREATE INDEX ticket_keys_by_end ON ticket_keys (ends_at);
