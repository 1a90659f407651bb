-- The time zone in which notifications of the route give times; empty: that of the settings.
ALTER TABLE notification_routes ADD COLUMN time_zone text NOT NULL DEFAULT '';
