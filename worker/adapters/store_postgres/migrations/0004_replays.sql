-- The replay run that opened an operation last: what another run has opened is not its own.
ALTER TABLE operations ADD COLUMN reopened_by text;

-- One row per replay run: who, why, under which options, and how it stands.
CREATE TABLE replay_runs (
  run             text    NOT NULL PRIMARY KEY,
  actor           text    NOT NULL,
  reason          text    NOT NULL,
  plan_sha256     text,
  options         text    NOT NULL,
  state           text    NOT NULL,
  stop_reason     text,
  started_at      bigint  NOT NULL,
  ended_at        bigint,
  stop_asked_at   bigint,
  stop_asked_by   text,
  wanted          bigint  NOT NULL,
  kept            bigint  NOT NULL,
  removed         bigint  NOT NULL
);

CREATE INDEX replay_runs_started ON replay_runs (started_at, run);

-- One row per letter of a run, in the order of its plan. No body, no person.
CREATE TABLE replay_steps (
  run            text    NOT NULL,
  operation_id   bytea   NOT NULL,
  position       bigint  NOT NULL,
  verdict        text    NOT NULL,
  sequence       bigint  NOT NULL,
  code           text,
  state          text    NOT NULL,
  result         text,
  sent_sequence  bigint,
  end_code       text,
  detail         text,
  at             bigint  NOT NULL,
  PRIMARY KEY (run, operation_id)
);

CREATE INDEX replay_steps_position ON replay_steps (run, position);

-- What a run still waits for is asked several times a second.
CREATE INDEX replay_steps_states ON replay_steps (run, state, operation_id);
