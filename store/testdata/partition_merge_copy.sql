INSERT INTO sensor_data_merge (timestamp, value, sensor_id, status_code, quality)
SELECT timestamp, value, sensor_id, status_code, quality
FROM sensor_data_20260301
ORDER BY sensor_id, timestamp
