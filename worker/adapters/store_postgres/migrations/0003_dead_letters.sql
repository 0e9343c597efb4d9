-- A letter that an operator has set aside: it is in the parking queue and not in the index.
ALTER TABLE answers ADD COLUMN letter_resolved bigint NOT NULL DEFAULT 0;

-- Dead letters that the broker made itself, as the last walk round their queue found them: no row
-- of operations need exist, and nobody has decided anything about them.
CREATE TABLE unanswered_letters (
  operation_id      bytea  NOT NULL PRIMARY KEY,
  kind              text   NOT NULL,
  payment_id        bytea  NOT NULL,
  sequence          bigint NOT NULL,
  origin            text   NOT NULL,
  fingerprint       text,
  payment_target    text,
  payment_run_mode  text,
  payment_type      text,
  type_paiement     text,
  id_origin         text,
  id_societe        text,
  id_client         text,
  id_commande       text,
  amount            bigint,
  first_seen        bigint NOT NULL,
  not_after         bigint,
  failed_at         bigint NOT NULL,
  cause             text,
  found_at          bigint NOT NULL
);

-- The order in which letters are listed.
CREATE INDEX unanswered_letters_failed ON unanswered_letters (failed_at, operation_id);

-- The cancellations of a payment; there are few, and payments themselves are not in it.
CREATE INDEX operations_cancellations ON operations (payment_id) WHERE kind = 'cancellation';
