-- Ids are 16 bytes, times bigint microseconds since 1970 UTC, flags 0 or 1, secrets "key id:token":
-- the same rows as in SQLite, so that one mapping serves both.

-- One row says whose schema this is, at which version, and tells it from any other ledger.
CREATE TABLE ledger (
  only_row     boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
  application  text    NOT NULL,
  version      bigint  NOT NULL,
  ledger_id    uuid    NOT NULL DEFAULT gen_random_uuid()
);

-- One row per open store: the last batch that it committed. After a commit whose answer was lost,
-- this row says whether it happened; locked by every batch, it waits for one still under way.
CREATE TABLE writers (
  writer   bigint      NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  batch    bigint      NOT NULL,
  seen_at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- One row per payment, cancellation or refusal.
CREATE TABLE operations (
  operation_id      bytea  NOT NULL PRIMARY KEY,
  kind              text   NOT NULL,
  payment_id        bytea  NOT NULL,
  identity          text   NOT NULL,
  fingerprint       text,
  origin            text   NOT NULL,
  payment_target    text,
  payment_run_mode  text,
  payment_type      text,
  type_paiement     text,
  id_origin         text,
  id_societe        text,
  id_client         text,
  id_commande       text,
  amount            bigint,
  state             text   NOT NULL,
  sequence          bigint NOT NULL,
  version           bigint NOT NULL,
  first_seen        bigint NOT NULL,
  created_at        bigint NOT NULL,
  updated_at        bigint NOT NULL,
  not_after         bigint,
  message_id        text,
  correlation_id    text,
  traceparent       text,
  account           text,
  operation         text,
  operation_class   text,
  live              bigint,
  reference         text,
  attempts          bigint NOT NULL,
  peak_attempts     bigint NOT NULL,
  unknown_attempts  bigint NOT NULL,
  cleared_attempts  bigint NOT NULL,
  opened_attempts   bigint NOT NULL,
  waits             bigint NOT NULL,
  token             bytea,
  lease_until       bigint,
  next_attempt_at   bigint,
  decided_at        bigint,
  event_id          bytea,
  code              text,
  link              text,
  link_published    bigint NOT NULL,
  item_id           text,
  email             text,
  duplicate_of      bytea
);

-- Holds only what is being called right now, so it stays small however long the ledger is.
CREATE INDEX operations_leases ON operations (lease_until, operation_id) WHERE state = 'calling';

-- What waits on the ladder; a wait long overdue has lost its message.
CREATE INDEX operations_waits ON operations (next_attempt_at, operation_id)
  WHERE state = 'retry_wait';

-- What waits for a person: few rows, asked for by every scrape of the metrics.
CREATE INDEX operations_doubts ON operations (account, decided_at) WHERE state = 'in_doubt';

-- One row per decided event, with the dead letter owed beside it and the broker's confirmations.
CREATE TABLE answers (
  event_id          bytea  NOT NULL PRIMARY KEY,
  operation_id      bytea  NOT NULL,
  sequence          bigint NOT NULL,
  occurred_at       bigint NOT NULL,
  event             text   NOT NULL,
  link              text,
  letter_code       text,
  letter_detail     text,
  letter_failed_at  bigint,
  correlation_id    text,
  traceparent       text,
  event_confirmed   bigint NOT NULL,
  letter_confirmed  bigint NOT NULL,
  resends           bigint NOT NULL,
  taken_at          bigint
);

-- What the sweeper looks for: an answer leaves this index when its event is confirmed.
CREATE INDEX answers_unpublished ON answers (occurred_at, event_id) WHERE event_confirmed = 0;

-- The dead-letter index: answers without a letter are not in it.
CREATE INDEX answers_letters ON answers (letter_failed_at, operation_id)
  WHERE letter_failed_at IS NOT NULL;

-- History of attempts in the order they ended; one token may leave several (late evidence).
CREATE TABLE attempts (
  operation_id  bytea  NOT NULL,
  position      bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  token         bytea  NOT NULL,
  number        bigint NOT NULL,
  reference     text,
  tries         text   NOT NULL,
  links         text,
  ended_at      bigint NOT NULL,
  note          text,
  PRIMARY KEY (operation_id, position)
);

-- Which payment owns what a request asks for: the duplicate check of the claim.
CREATE TABLE fingerprints (
  fingerprint   text  NOT NULL PRIMARY KEY,
  operation_id  bytea NOT NULL
);

CREATE TABLE tombstones (
  payment_id  bytea  NOT NULL PRIMARY KEY,
  origin      text   NOT NULL,
  until       bigint NOT NULL
);

CREATE INDEX tombstones_until ON tombstones (until);

CREATE TABLE audit (
  entry         bigint NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  at            bigint NOT NULL,
  actor         text   NOT NULL,
  action        text   NOT NULL,
  operation_id  bytea,
  detail        text   NOT NULL
);

-- When the ledger came back from a backup: what was known until when, and who said so.
CREATE TABLE restorations (
  entry        bigint NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  known_until  bigint NOT NULL,
  restored_at  bigint NOT NULL,
  actor        text   NOT NULL
);

-- Every encryption key that something here was sealed under: a missing one stops the start.
CREATE TABLE encryption_keys (
  key_id         text   NOT NULL PRIMARY KEY,
  first_used_at  bigint NOT NULL
);
