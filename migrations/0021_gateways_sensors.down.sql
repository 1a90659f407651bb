DROP TABLE sensors, mqtt_sessions, gateway_credentials, gateways;
DROP FUNCTION notify_catalog;
DROP SEQUENCE system_ids;
