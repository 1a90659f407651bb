-- Refusals that come too fast to keep each are counted together, with the payload of one of them.
ALTER TABLE rejections ADD COLUMN folded boolean NOT NULL DEFAULT false;
