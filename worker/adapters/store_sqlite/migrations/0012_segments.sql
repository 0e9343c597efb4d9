-- Every row of operations gets a number of its own in the order of its coming, which a VACUUM
-- leaves alone and no other row gets after it. What belongs to a payment and what people look it up
-- by then lies near its end, where the rows before it have just been written, however long the
-- ledger is: only the ids that a request is known by again stay spread over trees of their own.
CREATE TABLE operations_by_entry (
  entry             INTEGER PRIMARY KEY AUTOINCREMENT,
  operation_id      BLOB    NOT NULL,
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
  duplicate_of      BLOB,
  reopened_by       TEXT,
  email_mark        BLOB
) STRICT;

INSERT INTO operations_by_entry (
  operation_id, kind, payment_id, identity, fingerprint, origin, payment_target, payment_run_mode,
  payment_type, type_paiement, id_origin, id_societe, id_client, id_commande, amount, state,
  sequence, version, first_seen, created_at, updated_at, not_after, message_id, correlation_id,
  traceparent, account, operation, operation_class, live, reference, attempts, peak_attempts,
  unknown_attempts, cleared_attempts, opened_attempts, waits, token, lease_until, next_attempt_at,
  decided_at, event_id, code, link, link_published, item_id, email, duplicate_of, reopened_by,
  email_mark
) SELECT
  operation_id, kind, payment_id, identity, fingerprint, origin, payment_target, payment_run_mode,
  payment_type, type_paiement, id_origin, id_societe, id_client, id_commande, amount, state,
  sequence, version, first_seen, created_at, updated_at, not_after, message_id, correlation_id,
  traceparent, account, operation, operation_class, live, reference, attempts, peak_attempts,
  unknown_attempts, cleared_attempts, opened_attempts, waits, token, lease_until, next_attempt_at,
  decided_at, event_id, code, link, link_published, item_id, email, duplicate_of, reopened_by,
  email_mark
FROM operations ORDER BY rowid;

DROP TABLE operations;

ALTER TABLE operations_by_entry RENAME TO operations;

CREATE UNIQUE INDEX operations_ids ON operations (operation_id);

CREATE TABLE attempts_by_entry (
  entry         INTEGER NOT NULL,
  position      INTEGER NOT NULL,
  operation_id  BLOB    NOT NULL,
  token         BLOB    NOT NULL,
  number        INTEGER NOT NULL,
  reference     TEXT,
  tries         TEXT    NOT NULL,
  links         TEXT,
  ended_at      INTEGER NOT NULL,
  note          TEXT,
  PRIMARY KEY (entry, position)
) STRICT, WITHOUT ROWID;

-- An attempt whose payment retention has removed is not taken along.
INSERT INTO attempts_by_entry (
  entry, position, operation_id, token, number, reference, tries, links, ended_at, note
) SELECT
  operations.entry, attempts.position, attempts.operation_id, attempts.token, attempts.number,
  attempts.reference, attempts.tries, attempts.links, attempts.ended_at, attempts.note
FROM attempts JOIN operations ON operations.operation_id = attempts.operation_id
ORDER BY operations.entry, attempts.position;

DROP TABLE attempts;

ALTER TABLE attempts_by_entry RENAME TO attempts;

CREATE INDEX operations_leases ON operations (lease_until, operation_id) WHERE state = 'calling';

CREATE INDEX operations_waits ON operations (next_attempt_at, operation_id)
  WHERE state = 'retry_wait';

CREATE INDEX operations_doubts ON operations (account, decided_at) WHERE state = 'in_doubt';

CREATE INDEX operations_cancellations ON operations (payment_id) WHERE kind = 'cancellation';

CREATE INDEX operations_received ON operations (first_seen, operation_id);

CREATE INDEX operations_duplicates ON operations (duplicate_of) WHERE duplicate_of IS NOT NULL;

CREATE INDEX operations_personal ON operations (created_at, email_mark)
  WHERE fingerprint IS NOT NULL;

CREATE INDEX operations_erased ON operations (created_at) WHERE fingerprint IS NULL;

CREATE INDEX operations_links ON operations (created_at)
  WHERE fingerprint IS NULL AND link IS NOT NULL;

CREATE INDEX attempts_too_late ON attempts (operation_id)
  WHERE note = 'too late, kept as evidence';

-- What people look a payment up by, in segments of 4,096 payments each: a payment is written into
-- the few pages of the last one, and a search looks into one segment after another.
CREATE INDEX operations_clients ON operations (entry >> 12, id_client, first_seen, operation_id);

-- Order 0 means none, and would be most of the index of some ledgers.
CREATE INDEX operations_orders ON operations (entry >> 12, id_commande, first_seen, operation_id)
  WHERE id_commande <> '0';

CREATE INDEX operations_messages ON operations (entry >> 12, message_id, first_seen, operation_id)
  WHERE message_id IS NOT NULL;

CREATE INDEX attempts_references ON attempts (entry >> 12, reference, operation_id)
  WHERE reference IS NOT NULL;
