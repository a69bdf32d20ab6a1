-- When to renew, in seconds since 1970; NULL: a name that is not renewed by an order of its own.
ALTER TABLE certificates ADD COLUMN renew_at INTEGER;

UPDATE certificates SET renew_at = not_after - (not_after - not_before) / 3 WHERE name NOT LIKE '*.%';

CREATE INDEX certificates_by_renewal ON certificates (renew_at) WHERE renew_at IS NOT NULL;

CREATE INDEX certificates_by_end ON certificates (not_after);
