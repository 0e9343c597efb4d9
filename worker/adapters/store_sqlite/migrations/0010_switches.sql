-- What operators have switched: one row per account ('*' is every one), read by each worker.
CREATE TABLE account_switches (
  account       TEXT    NOT NULL PRIMARY KEY,
  paused_by     TEXT,
  pause_reason  TEXT,
  paused_at     INTEGER,
  wish          BLOB,
  wished_by     TEXT,
  wished_at     INTEGER
) STRICT, WITHOUT ROWID;

-- What each worker makes of it, and how its breakers stand; one that is gone is forgotten in time.
CREATE TABLE account_reports (
  worker        BLOB    NOT NULL,
  account       TEXT    NOT NULL,
  breaker       TEXT    NOT NULL,
  paused        INTEGER NOT NULL,
  seen_at       INTEGER NOT NULL,
  reason        TEXT,
  next_try      INTEGER,
  wish          BLOB,
  probe_result  TEXT,
  PRIMARY KEY (worker, account)
) STRICT, WITHOUT ROWID;

-- Who has approved which plan of a replay, by the plan's own hash.
CREATE TABLE plan_approvals (
  plan_sha256  TEXT    NOT NULL,
  actor        TEXT    NOT NULL,
  reason       TEXT    NOT NULL,
  at           INTEGER NOT NULL,
  PRIMARY KEY (plan_sha256, actor)
) STRICT, WITHOUT ROWID;
