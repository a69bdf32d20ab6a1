-- Certificates that a process has to look at again: a command beside it, or the one before it, changed them.
CREATE TABLE news (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    name TEXT NOT NULL
) STRICT;

CREATE TRIGGER certificates_are_news AFTER INSERT ON certificates
BEGIN
    INSERT INTO news (kind, name) VALUES ('certificate', NEW.name);
END;

CREATE TRIGGER certificates_are_news_again AFTER UPDATE OF chain, sealed_key, withheld ON certificates
WHEN OLD.chain <> NEW.chain OR OLD.withheld <> NEW.withheld
BEGIN
    INSERT INTO news (kind, name) VALUES ('certificate', NEW.name);
END;

CREATE TRIGGER certificates_are_no_news AFTER DELETE ON certificates
BEGIN
    INSERT INTO news (kind, name) VALUES ('certificate', OLD.name);
END;

CREATE TRIGGER ticket_keys_are_news AFTER INSERT ON ticket_keys
BEGIN
    INSERT INTO news (kind, name) VALUES ('ticket_keys', '');
END;
