-- Until when the renewal is somebody's, who was handed the name; NULL: nobody's.
ALTER TABLE certificates ADD COLUMN claimed_until INTEGER;

CREATE INDEX certificates_claimed ON certificates (claimed_until) WHERE claimed_until IS NOT NULL;

-- What is handed out is found in an index alone: late ones first, then the others.
DROP INDEX certificates_by_renewal;

CREATE INDEX certificates_by_renewal ON certificates (renew_at, late_at, claimed_until) WHERE renew_at IS NOT NULL;

DROP INDEX certificates_by_lateness;

CREATE INDEX certificates_by_lateness ON certificates (late_at, renew_at, claimed_until)
WHERE late_at IS NOT NULL AND parked IS NULL;

-- By which of the authority's accounts it was placed; 0: the first one.
ALTER TABLE orders ADD COLUMN account INTEGER NOT NULL DEFAULT 0;

ALTER TABLE unfinished_orders ADD COLUMN account INTEGER NOT NULL DEFAULT 0;

CREATE INDEX orders_by_account ON orders (authority, account, placed_at);
