-- What the dashboard counts: each count reads a part of one index and no row.
CREATE INDEX certificates_in_use_by_end ON certificates (not_after) WHERE withheld = 0;

CREATE INDEX certificates_in_use_by_name ON certificates (name, not_after) WHERE withheld = 0;

-- Orders that came to a certificate, and those that did not.
CREATE INDEX events_of_orders ON events (at, kind) WHERE kind IN
    ('certificate.issued', 'certificate.renewed', 'certificate.failed', 'certificate.renewal_failed');

CREATE INDEX events_of_orders_by_organization ON events (organization, at, kind) WHERE kind IN
    ('certificate.issued', 'certificate.renewed', 'certificate.failed', 'certificate.renewal_failed');
