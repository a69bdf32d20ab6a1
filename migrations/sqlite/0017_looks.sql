-- Looks asked for, ever, and looks kept, ever: a look that began before another was asked for, or kept, is
-- told by them.
ALTER TABLE hostnames ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;

ALTER TABLE hostnames ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
