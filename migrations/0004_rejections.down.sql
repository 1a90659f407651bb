DROP TABLE idempotency_keys, rejection_counts;
ALTER TABLE rejections DROP COLUMN gateway_id;
