-- Every row of operations gets a number of its own in the order of its coming (those that are there
-- already in the order in which they lie). What belongs to a payment and what people look it up by
-- then lies near its end, where the pages of the rows before it are in the log already, however
-- long the ledger is: only the ids that a request is known by again stay spread over trees of their
-- own. This table and that of the attempts are written anew.
ALTER TABLE operations ADD COLUMN entry bigint NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE;

CREATE TABLE attempts_by_entry (
  entry         bigint NOT NULL,
  position      bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  operation_id  bytea  NOT NULL,
  token         bytea  NOT NULL,
  number        bigint NOT NULL,
  reference     text,
  tries         text   NOT NULL,
  links         text,
  ended_at      bigint NOT NULL,
  note          text
);

-- An attempt whose payment retention has removed is not taken along.
INSERT INTO attempts_by_entry (
  entry, operation_id, token, number, reference, tries, links, ended_at, note
) SELECT
  operations.entry, attempts.operation_id, attempts.token, attempts.number, attempts.reference,
  attempts.tries, attempts.links, attempts.ended_at, attempts.note
FROM attempts JOIN operations ON operations.operation_id = attempts.operation_id
ORDER BY operations.entry, attempts.position;

DROP TABLE attempts;

ALTER TABLE attempts_by_entry RENAME TO attempts;

ALTER SEQUENCE attempts_by_entry_position_seq RENAME TO attempts_position_seq;

ALTER TABLE attempts ADD PRIMARY KEY (entry, position);

CREATE INDEX attempts_too_late ON attempts (operation_id)
  WHERE note = 'too late, kept as evidence';

DROP INDEX operations_clients;

DROP INDEX operations_orders;

DROP INDEX operations_messages;

-- What people look a payment up by, in segments of 4,096 payments each: a payment is written into
-- the few pages of the last one, and a search looks into one segment after another.
CREATE INDEX operations_clients ON operations ((entry >> 12), id_client, first_seen, operation_id);

-- Order 0 means none, and would be most of the index of some ledgers.
CREATE INDEX operations_orders ON operations ((entry >> 12), id_commande, first_seen, operation_id)
  WHERE id_commande <> '0';

CREATE INDEX operations_messages ON operations ((entry >> 12), message_id, first_seen, operation_id)
  WHERE message_id IS NOT NULL;

CREATE INDEX attempts_references ON attempts ((entry >> 12), reference, operation_id)
  WHERE reference IS NOT NULL;

-- Without figures about what is new, a search would be planned as if there were next to nothing. A
-- ledger that is empty has none to give: the server would believe that it stays so.
DO $$
BEGIN
  IF EXISTS (SELECT FROM operations) THEN
    ANALYZE operations;
    ANALYZE attempts;
  END IF;
END
$$;
