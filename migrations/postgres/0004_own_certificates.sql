-- What joins certificates with hostnames.

-- Names that have a certificate or were tried, and that are not listed as hostnames yet, are to be.
CREATE FUNCTION certificate_of_nobody() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM hostnames WHERE name = NEW.name) THEN
        INSERT INTO unlisted (name) VALUES (NEW.name) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER certificates_of_nobody AFTER INSERT ON certificates
    FOR EACH ROW EXECUTE FUNCTION certificate_of_nobody();

CREATE TRIGGER certificates_back_for_nobody AFTER UPDATE OF withheld ON certificates
    FOR EACH ROW WHEN (OLD.withheld AND NOT NEW.withheld) EXECUTE FUNCTION certificate_of_nobody();

CREATE FUNCTION attempt_of_nobody() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM hostnames WHERE name = NEW.hostname) THEN
        INSERT INTO unlisted (name) VALUES (NEW.hostname) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER attempts_of_nobody AFTER INSERT OR UPDATE OF ended_at ON attempts
    FOR EACH ROW EXECUTE FUNCTION attempt_of_nobody();

-- Own certificates are those of whoever holds the name, and go with their hostname.
CREATE FUNCTION own_certificates_of_another_holder() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM own_certificates WHERE name = NEW.name) THEN
        INSERT INTO changes (kind, name) VALUES ('own', NEW.name);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER own_certificates_of_another_holder AFTER UPDATE OF holder ON hostnames
    FOR EACH ROW WHEN (OLD.holder <> NEW.holder) EXECUTE FUNCTION own_certificates_of_another_holder();

CREATE TRIGGER own_certificates_of_a_new_holder AFTER INSERT ON hostnames
    FOR EACH ROW WHEN (NEW.holder) EXECUTE FUNCTION own_certificates_of_another_holder();

CREATE FUNCTION own_certificates_go_with_their_hostname() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM own_certificates WHERE name = OLD.name AND organization = OLD.organization;
    RETURN NULL;
END $$;

CREATE TRIGGER own_certificates_go_with_their_hostname AFTER DELETE ON hostnames
    FOR EACH ROW EXECUTE FUNCTION own_certificates_go_with_their_hostname();
