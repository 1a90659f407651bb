DROP TABLE notification_watches, notification_cursor, notification_deliveries,
    notification_silences, notification_routes, notification_channels;
