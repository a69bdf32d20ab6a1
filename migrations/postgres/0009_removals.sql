-- Until when the removal of an abandoned record is one machine's.
ALTER TABLE written_records ADD COLUMN held_until bigint NOT NULL DEFAULT 0;
