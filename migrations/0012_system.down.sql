DELETE FROM alarms WHERE sensor_id IN (SELECT s.id FROM sensors s JOIN gateways g ON g.id = s.gateway_id WHERE g.is_system);
DELETE FROM latest WHERE sensor_id IN (SELECT s.id FROM sensors s JOIN gateways g ON g.id = s.gateway_id WHERE g.is_system);
INSERT INTO purges (sensor_id) SELECT s.id FROM sensors s JOIN gateways g ON g.id = s.gateway_id WHERE g.is_system ON CONFLICT DO NOTHING;
DELETE FROM sensors WHERE gateway_id IN (SELECT id FROM gateways WHERE is_system);
DELETE FROM gateways WHERE is_system;
ALTER TABLE sensors DROP COLUMN about_gateway_id;
ALTER TABLE gateways DROP COLUMN is_system, DROP COLUMN refused;
DROP TABLE system_watch, ingest_lags;
DROP SEQUENCE system_ids;
