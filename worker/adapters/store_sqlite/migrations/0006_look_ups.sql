-- The look-ups of a doubtful payment at its provider: one row per payment, for its newest doubt.
CREATE TABLE look_up_plans (
  operation_id  BLOB    NOT NULL PRIMARY KEY,
  account       TEXT    NOT NULL,
  sequence      INTEGER NOT NULL,
  steps         INTEGER NOT NULL,
  state         TEXT    NOT NULL,
  due_at        INTEGER,
  token         BLOB,
  lease_until   INTEGER
) STRICT;

-- What is still to be read; a plan leaves this index with its last step.
CREATE INDEX look_up_plans_due ON look_up_plans (account, due_at, operation_id)
  WHERE due_at IS NOT NULL;

-- Breaks: few rows, asked for by every scrape of the metrics.
CREATE INDEX look_up_plans_breaks ON look_up_plans (operation_id) WHERE state = 'break';

-- One row per read of one reference, as evidence. No link, no person.
CREATE TABLE look_ups (
  operation_id   BLOB    NOT NULL,
  position       INTEGER NOT NULL,
  sequence       INTEGER NOT NULL,
  step           INTEGER NOT NULL,
  at             INTEGER NOT NULL,
  reference      TEXT    NOT NULL,
  finding        TEXT    NOT NULL,
  amount         INTEGER,
  reason         TEXT,
  http_status    INTEGER,
  provider_code  TEXT,
  PRIMARY KEY (operation_id, position)
) STRICT, WITHOUT ROWID;
