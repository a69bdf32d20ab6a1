-- Where an organization wants to be told what happened.
CREATE TABLE webhooks (
    id            TEXT    PRIMARY KEY NOT NULL,
    organization  TEXT    NOT NULL,
    url           TEXT    NOT NULL,
    sealed_secret BLOB    NOT NULL,
    events        TEXT    NOT NULL,          -- JSON list of words; empty: all that may be asked for
    disabled      TEXT,                      -- why nothing is sent to it
    since         INTEGER NOT NULL,          -- only events behind this one are for it
    version       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX webhooks_by_organization ON webhooks (organization, id);

-- The last event of which deliveries were made; one row.
CREATE TABLE outbox (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    handed_out INTEGER NOT NULL
) STRICT;

INSERT INTO outbox (one, handed_out) SELECT 1, coalesce(max(id), 0) FROM events;

CREATE TABLE deliveries (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook      TEXT    NOT NULL,
    organization TEXT    NOT NULL,
    event        INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    message      TEXT    NOT NULL,
    hostname     TEXT    NOT NULL,
    body         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    failures     INTEGER NOT NULL DEFAULT 0,
    open         INTEGER NOT NULL DEFAULT 1, -- 1: neither delivered nor given up
    head         INTEGER NOT NULL,           -- 1: the oldest open one of its webhook and hostname
    taken        INTEGER NOT NULL DEFAULT 0, -- 1: somebody is at it until next_at
    next_at      INTEGER,                    -- NULL: not open
    delivered_at INTEGER,
    status       INTEGER,
    report       TEXT    NOT NULL DEFAULT ''
) STRICT;

CREATE UNIQUE INDEX deliveries_of_an_event ON deliveries (event, webhook);

CREATE INDEX deliveries_by_webhook ON deliveries (webhook, id);

CREATE INDEX deliveries_by_organization ON deliveries (organization, id);

CREATE INDEX deliveries_by_age ON deliveries (created_at);

CREATE INDEX deliveries_closed ON deliveries (id) WHERE open = 0;

CREATE INDEX deliveries_open ON deliveries (webhook, hostname, id) WHERE open = 1;

-- One for each webhook and hostname, so that a receiver gets what happened to a hostname in order.
CREATE UNIQUE INDEX deliveries_first ON deliveries (webhook, hostname) WHERE head = 1;

CREATE INDEX deliveries_due ON deliveries (webhook, next_at) WHERE head = 1;

CREATE INDEX deliveries_taken ON deliveries (webhook, next_at) WHERE taken = 1;

CREATE INDEX deliveries_given_up ON deliveries (webhook, created_at) WHERE open = 0 AND delivered_at IS NULL;

CREATE TRIGGER deliveries_opened_or_closed AFTER UPDATE OF open ON deliveries
BEGIN
    UPDATE deliveries SET head = 0 WHERE webhook = NEW.webhook AND hostname = NEW.hostname AND head = 1;
    UPDATE deliveries SET head = 1 WHERE id = (
        SELECT min(id) FROM deliveries WHERE webhook = NEW.webhook AND hostname = NEW.hostname AND open = 1);
END;

CREATE TRIGGER deliveries_forgotten AFTER DELETE ON deliveries WHEN OLD.head = 1
BEGIN
    UPDATE deliveries SET head = 1 WHERE id = (
        SELECT min(id) FROM deliveries WHERE webhook = OLD.webhook AND hostname = OLD.hostname AND open = 1);
END;
