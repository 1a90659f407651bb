DROP TABLE idempotency_keys, rejection_counts;
ALTER TABLE rejections DROP CONSTRAINT rejections_pkey, ADD PRIMARY KEY (id), DROP COLUMN gateway_id;
ALTER TABLE rejections RENAME COLUMN hash TO payload_hash;
ALTER TABLE rejections ADD UNIQUE (gateway, reason, payload_hash, topic);
