-- The look-ups of a doubtful payment at its provider: one row per payment, for its newest doubt.
CREATE TABLE look_up_plans (
  operation_id  bytea  NOT NULL PRIMARY KEY,
  account       text   NOT NULL,
  sequence      bigint NOT NULL,
  steps         bigint NOT NULL,
  state         text   NOT NULL,
  due_at        bigint,
  token         bytea,
  lease_until   bigint
);

-- What is still to be read; a plan leaves this index with its last step.
CREATE INDEX look_up_plans_due ON look_up_plans (account, due_at, operation_id)
  WHERE due_at IS NOT NULL;

-- Breaks: few rows, asked for by every scrape of the metrics.
CREATE INDEX look_up_plans_breaks ON look_up_plans (operation_id) WHERE state = 'break';

-- One row per read of one reference, as evidence. No link, no person.
CREATE TABLE look_ups (
  operation_id   bytea  NOT NULL,
  position       bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  sequence       bigint NOT NULL,
  step           bigint NOT NULL,
  at             bigint NOT NULL,
  reference      text   NOT NULL,
  finding        text   NOT NULL,
  amount         bigint,
  reason         text,
  http_status    bigint,
  provider_code  text,
  PRIMARY KEY (operation_id, position)
);
