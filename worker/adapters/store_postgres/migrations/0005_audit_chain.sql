-- Every act has its place in one chain: a hash over the act and over the act before it. Older acts
-- get theirs with the first new one.
ALTER TABLE audit ADD COLUMN denied bigint NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN facts text;
ALTER TABLE audit ADD COLUMN position bigint;
ALTER TABLE audit ADD COLUMN hash bytea;
