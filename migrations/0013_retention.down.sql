ALTER TABLE sensors DROP COLUMN retention_days;
