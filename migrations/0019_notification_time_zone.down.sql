ALTER TABLE notification_routes DROP COLUMN time_zone;
