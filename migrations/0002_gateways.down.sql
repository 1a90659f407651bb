DROP TABLE sensors, gateway_credentials, gateways;
DROP FUNCTION notify_catalog;
