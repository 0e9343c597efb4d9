-- Who walks a queue at the moment: one walk at a time, however many operators there are.
CREATE TABLE queue_locks (
  queue    text   NOT NULL PRIMARY KEY,
  token    bytea  NOT NULL,
  actor    text   NOT NULL,
  purpose  text   NOT NULL,
  since    bigint NOT NULL,
  until    bigint NOT NULL
);
