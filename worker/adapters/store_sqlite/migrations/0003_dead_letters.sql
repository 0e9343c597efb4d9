-- A letter that an operator has set aside: it is in the parking queue and not in the index.
ALTER TABLE answers ADD COLUMN letter_resolved INTEGER NOT NULL DEFAULT 0;

-- Dead letters that the broker made itself, as the last walk round their queue found them: no row
-- of operations need exist, and nobody has decided anything about them.
CREATE TABLE unanswered_letters (
  operation_id      BLOB    NOT NULL PRIMARY KEY,
  kind              TEXT    NOT NULL,
  payment_id        BLOB    NOT NULL,
  sequence          INTEGER NOT NULL,
  origin            TEXT    NOT NULL,
  fingerprint       TEXT,
  payment_target    TEXT,
  payment_run_mode  TEXT,
  payment_type      TEXT,
  type_paiement     TEXT,
  id_origin         TEXT,
  id_societe        TEXT,
  id_client         TEXT,
  id_commande       TEXT,
  amount            INTEGER,
  first_seen        INTEGER NOT NULL,
  not_after         INTEGER,
  failed_at         INTEGER NOT NULL,
  cause             TEXT,
  found_at          INTEGER NOT NULL
) STRICT;

-- The order in which letters are listed.
CREATE INDEX unanswered_letters_failed ON unanswered_letters (failed_at, operation_id);

-- The cancellations of a payment; there are few, and payments themselves are not in it.
CREATE INDEX operations_cancellations ON operations (payment_id) WHERE kind = 'cancellation';
