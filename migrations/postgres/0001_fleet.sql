-- What all else stands on: the time that holds for every machine, the sealing keys, and the sequence of
-- changes by which machines learn what others did.
--
-- Times are whole seconds since 1970-01-01T00:00:00Z.

-- The time by which leases, challenges and limits are judged: the database's, as the clocks of machines
-- may be wrong.
CREATE FUNCTION unix_now() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE
    AS 'SELECT floor(extract(epoch FROM clock_timestamp()))::bigint';

CREATE TABLE sealing_keys (
    id text COLLATE "C" PRIMARY KEY                      -- a short name, which tells nothing about the key
);

-- What other machines have to look at again. A row is written in the transaction of its change and gets its
-- number once that is committed, so that whoever has read number n has missed no smaller one. Numbers grow by
-- steps drawn at random: one that was read is not in a store that was restored from a backup and went on
-- from there.
CREATE TABLE changes (
    serial bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number bigint UNIQUE,
    kind   text COLLATE "C"   NOT NULL,
    name   text COLLATE "C"   NOT NULL                   -- '' where the kind says all
);

CREATE INDEX changes_by_kind ON changes (kind, number);

CREATE INDEX changes_without_a_number ON changes (serial) WHERE number IS NULL;

-- Numbers what was committed since, one call at a time, and wakes whoever listens; how many there were.
CREATE FUNCTION number_changes() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    numbered bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('nameplate'), hashtext('changes'));
    WITH fresh AS (
        SELECT serial, row_number() OVER (ORDER BY serial) AS place FROM changes WHERE number IS NULL
    )
    UPDATE changes
    SET number = (SELECT coalesce(max(number), 0) FROM changes) + fresh.place * 1048576
        + floor(random() * 1048576)::bigint
    FROM fresh WHERE changes.serial = fresh.serial;
    GET DIAGNOSTICS numbered = ROW_COUNT;
    IF numbered > 0 THEN
        PERFORM pg_notify('nameplate_changes', '');
    END IF;
    RETURN numbered;
END $$;

-- The machines, as each says of itself.
CREATE TABLE machines (
    id      text   PRIMARY KEY COLLATE "C",
    said    text COLLATE "C"   NOT NULL,                 -- JSON
    seen_at bigint NOT NULL
);
