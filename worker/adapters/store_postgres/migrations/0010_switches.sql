-- What operators have switched: one row per account ('*' is every one), read by each worker.
CREATE TABLE account_switches (
  account       text    NOT NULL PRIMARY KEY,
  paused_by     text,
  pause_reason  text,
  paused_at     bigint,
  wish          bytea,
  wished_by     text,
  wished_at     bigint
);

-- What each worker makes of it, and how its breakers stand; one that is gone is forgotten in time.
CREATE TABLE account_reports (
  worker        bytea    NOT NULL,
  account       text    NOT NULL,
  breaker       text    NOT NULL,
  paused        bigint NOT NULL,
  seen_at       bigint NOT NULL,
  reason        text,
  next_try      bigint,
  wish          bytea,
  probe_result  text,
  PRIMARY KEY (worker, account)
);

-- Who has approved which plan of a replay, by the plan's own hash.
CREATE TABLE plan_approvals (
  plan_sha256  text    NOT NULL,
  actor        text    NOT NULL,
  reason       text    NOT NULL,
  at           bigint NOT NULL,
  PRIMARY KEY (plan_sha256, actor)
);
