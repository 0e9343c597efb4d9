-- The dead letters that wait are listed from the oldest on. Those that were set aside, all older
-- ones before long, lie apart, or every list would first read past them.
DROP INDEX answers_letters;
CREATE INDEX answers_letters ON answers (letter_resolved, letter_failed_at, operation_id)
  WHERE letter_failed_at IS NOT NULL;
