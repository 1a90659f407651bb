-- For how many days a sensor's readings are kept at least. NULL: as the program's setting says; 0: for ever.
ALTER TABLE sensors ADD COLUMN retention_days integer CHECK (retention_days >= 0);
