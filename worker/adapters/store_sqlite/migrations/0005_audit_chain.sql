-- Every act has its place in one chain: a hash over the act and over the act before it. Older acts
-- get theirs with the first new one.
ALTER TABLE audit ADD COLUMN denied INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN facts TEXT;
ALTER TABLE audit ADD COLUMN position INTEGER;
ALTER TABLE audit ADD COLUMN hash BLOB;
