-- Ids are 16-byte blobs, times integer microseconds since 1970 UTC, secrets "key id:token".

-- One row per payment, cancellation or refusal. A rowid table on purpose: rows are appended and
-- soon settled near the end of the file, only the small index of random ids is spread out.
CREATE TABLE operations (
  operation_id      BLOB    NOT NULL PRIMARY KEY,
  kind              TEXT    NOT NULL,
  payment_id        BLOB    NOT NULL,
  identity          TEXT    NOT NULL,
  fingerprint       TEXT,
  origin            TEXT    NOT NULL,
  payment_target    TEXT,
  payment_run_mode  TEXT,
  payment_type      TEXT,
  type_paiement     TEXT,
  id_origin         TEXT,
  id_societe        TEXT,
  id_client         TEXT,
  id_commande       TEXT,
  amount            INTEGER,
  state             TEXT    NOT NULL,
  sequence          INTEGER NOT NULL,
  version           INTEGER NOT NULL,
  first_seen        INTEGER NOT NULL,
  created_at        INTEGER NOT NULL,
  updated_at        INTEGER NOT NULL,
  not_after         INTEGER,
  message_id        TEXT,
  correlation_id    TEXT,
  traceparent       TEXT,
  account           TEXT,
  operation         TEXT,
  operation_class   TEXT,
  live              INTEGER,
  reference         TEXT,
  attempts          INTEGER NOT NULL,
  peak_attempts     INTEGER NOT NULL,
  unknown_attempts  INTEGER NOT NULL,
  cleared_attempts  INTEGER NOT NULL,
  opened_attempts   INTEGER NOT NULL,
  waits             INTEGER NOT NULL,
  token             BLOB,
  lease_until       INTEGER,
  next_attempt_at   INTEGER,
  decided_at        INTEGER,
  event_id          BLOB,
  code              TEXT,
  link              TEXT,
  link_published    INTEGER NOT NULL,
  item_id           TEXT,
  email             TEXT,
  duplicate_of      BLOB
) STRICT;

-- Holds only what is being called right now, so it stays one page however long the ledger is.
CREATE INDEX operations_leases ON operations (lease_until, operation_id) WHERE state = 'calling';

-- What waits on the ladder; a wait long overdue has lost its message.
CREATE INDEX operations_waits ON operations (next_attempt_at, operation_id)
  WHERE state = 'retry_wait';

-- What waits for a person: few rows, asked for by every scrape of the metrics.
CREATE INDEX operations_doubts ON operations (account, decided_at) WHERE state = 'in_doubt';

-- One row per decided event, with the dead letter owed beside it and the broker's confirmations.
CREATE TABLE answers (
  event_id          BLOB    NOT NULL PRIMARY KEY,
  operation_id      BLOB    NOT NULL,
  sequence          INTEGER NOT NULL,
  occurred_at       INTEGER NOT NULL,
  event             TEXT    NOT NULL,
  link              TEXT,
  letter_code       TEXT,
  letter_detail     TEXT,
  letter_failed_at  INTEGER,
  correlation_id    TEXT,
  traceparent       TEXT,
  event_confirmed   INTEGER NOT NULL,
  letter_confirmed  INTEGER NOT NULL,
  resends           INTEGER NOT NULL,
  taken_at          INTEGER
) STRICT;

-- What the sweeper looks for: an answer leaves this index when its event is confirmed.
CREATE INDEX answers_unpublished ON answers (occurred_at, event_id) WHERE event_confirmed = 0;

-- The dead-letter index: answers without a letter are not in it.
CREATE INDEX answers_letters ON answers (letter_failed_at, operation_id)
  WHERE letter_failed_at IS NOT NULL;

-- History of attempts in the order they ended; one token may leave several (late evidence).
CREATE TABLE attempts (
  operation_id  BLOB    NOT NULL,
  position      INTEGER NOT NULL,
  token         BLOB    NOT NULL,
  number        INTEGER NOT NULL,
  reference     TEXT,
  tries         TEXT    NOT NULL,
  links         TEXT,
  ended_at      INTEGER NOT NULL,
  note          TEXT,
  PRIMARY KEY (operation_id, position)
) STRICT, WITHOUT ROWID;

-- Which payment owns what a request asks for: the duplicate check of the claim.
CREATE TABLE fingerprints (
  fingerprint   TEXT NOT NULL PRIMARY KEY,
  operation_id  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tombstones (
  payment_id  BLOB    NOT NULL PRIMARY KEY,
  origin      TEXT    NOT NULL,
  until       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstones_until ON tombstones (until);

CREATE TABLE audit (
  entry         INTEGER PRIMARY KEY AUTOINCREMENT,
  at            INTEGER NOT NULL,
  actor         TEXT    NOT NULL,
  action        TEXT    NOT NULL,
  operation_id  BLOB,
  detail        TEXT    NOT NULL
) STRICT;

-- When the ledger came back from a backup: what was known until when, and who said so.
CREATE TABLE restorations (
  entry        INTEGER PRIMARY KEY AUTOINCREMENT,
  known_until  INTEGER NOT NULL,
  restored_at  INTEGER NOT NULL,
  actor        TEXT    NOT NULL
) STRICT;

-- Every encryption key that something here was sealed under: a missing one stops the start.
CREATE TABLE encryption_keys (
  key_id         TEXT    NOT NULL PRIMARY KEY,
  first_used_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
