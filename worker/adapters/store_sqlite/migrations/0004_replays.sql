-- The replay run that opened an operation last: what another run has opened is not its own.
ALTER TABLE operations ADD COLUMN reopened_by TEXT;
