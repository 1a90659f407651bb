ALTER TABLE rejections DROP COLUMN folded;
