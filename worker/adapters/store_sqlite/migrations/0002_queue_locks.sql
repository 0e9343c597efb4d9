-- Who walks a queue at the moment: one walk at a time, however many operators there are.
CREATE TABLE queue_locks (
  queue    TEXT    NOT NULL PRIMARY KEY,
  token    BLOB    NOT NULL,
  actor    TEXT    NOT NULL,
  purpose  TEXT    NOT NULL,
  since    INTEGER NOT NULL,
  until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
