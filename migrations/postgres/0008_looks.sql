-- Looks asked for, ever, and looks kept, ever: a look that began before another was asked for, or kept, is
-- told by them.
ALTER TABLE hostnames
    ADD COLUMN asked bigint NOT NULL DEFAULT 0,
    ADD COLUMN kept bigint NOT NULL DEFAULT 0;
