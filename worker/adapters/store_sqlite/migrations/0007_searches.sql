-- What people look a payment up by, each in the order of the first receipt.
CREATE INDEX operations_received ON operations (first_seen, operation_id);

CREATE INDEX operations_clients ON operations (id_client, first_seen, operation_id);

-- Order 0 means none, and would be most of the index of some ledgers.
CREATE INDEX operations_orders ON operations (id_commande, first_seen, operation_id)
  WHERE id_commande <> '0';

CREATE INDEX operations_messages ON operations (message_id) WHERE message_id IS NOT NULL;

-- A payment may have been sent under several references; its row has the latest alone.
CREATE INDEX attempts_references ON attempts (reference) WHERE reference IS NOT NULL;

-- Requests that were answered with another payment's answer: few.
CREATE INDEX operations_duplicates ON operations (duplicate_of) WHERE duplicate_of IS NOT NULL;

-- In doubt, an attempt may have been applied, whether or not this ledger has seen one: at least
-- one more is counted unknown than cleared, until a person clears it.
UPDATE operations SET unknown_attempts = cleared_attempts + 1
  WHERE state = 'in_doubt' AND unknown_attempts <= cleared_attempts;
