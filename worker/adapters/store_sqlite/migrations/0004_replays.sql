-- The replay run that opened an operation last: what another run has opened is not its own.
ALTER TABLE operations ADD COLUMN reopened_by TEXT;

-- One row per replay run: who, why, under which options, and how it stands.
CREATE TABLE replay_runs (
  run             TEXT    NOT NULL PRIMARY KEY,
  actor           TEXT    NOT NULL,
  reason          TEXT    NOT NULL,
  plan_sha256     TEXT,
  options         TEXT    NOT NULL,
  state           TEXT    NOT NULL,
  stop_reason     TEXT,
  started_at      INTEGER NOT NULL,
  ended_at        INTEGER,
  stop_asked_at   INTEGER,
  stop_asked_by   TEXT,
  wanted          INTEGER NOT NULL,
  kept            INTEGER NOT NULL,
  removed         INTEGER NOT NULL
) STRICT;

CREATE INDEX replay_runs_started ON replay_runs (started_at, run);

-- One row per letter of a run, in the order of its plan. No body, no person.
CREATE TABLE replay_steps (
  run            TEXT    NOT NULL,
  operation_id   BLOB    NOT NULL,
  position       INTEGER NOT NULL,
  verdict        TEXT    NOT NULL,
  sequence       INTEGER NOT NULL,
  code           TEXT,
  state          TEXT    NOT NULL,
  result         TEXT,
  sent_sequence  INTEGER,
  end_code       TEXT,
  detail         TEXT,
  at             INTEGER NOT NULL,
  PRIMARY KEY (run, operation_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX replay_steps_position ON replay_steps (run, position);

-- What a run still waits for is asked several times a second.
CREATE INDEX replay_steps_states ON replay_steps (run, state, operation_id);
