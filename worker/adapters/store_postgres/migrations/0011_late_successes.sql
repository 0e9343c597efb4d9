-- What came of a provider too late to decide anything: few rows, looked at by every report.
CREATE INDEX attempts_too_late ON attempts (operation_id)
  WHERE note = 'too late, kept as evidence';

CREATE INDEX look_ups_found ON look_ups (operation_id)
  WHERE finding IN ('found', 'found_without_link', 'other_amount');
