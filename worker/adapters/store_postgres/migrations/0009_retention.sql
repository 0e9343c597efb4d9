-- What the payments of an e-mail are found by: a keyed hash, the id of its key before it.
ALTER TABLE operations ADD COLUMN email_mark bytea;

-- What retention still has to erase an e-mail's traces from, oldest first, and how an e-mail is
-- looked up: by reading this index from end to end, for one sorted by the hash would be written at
-- another place with every payment, and a look-up is asked for once a month.
CREATE INDEX operations_personal ON operations (created_at, email_mark)
  WHERE fingerprint IS NOT NULL;

-- What was erased, oldest first; payments come into it only by the hands of retention.
CREATE INDEX operations_erased ON operations (created_at) WHERE fingerprint IS NULL;

-- Of that, what has its link still.
CREATE INDEX operations_links ON operations (created_at)
  WHERE fingerprint IS NULL AND link IS NOT NULL;
