DROP TABLE instances;
ALTER TABLE mqtt_sessions DROP COLUMN held_by;
ALTER TABLE gateways DROP COLUMN status_at, DROP COLUMN held_by;
