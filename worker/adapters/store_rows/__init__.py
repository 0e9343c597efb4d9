"""Records, answers and history as flat rows: one column order, shared by every store.

Ids are 16 bytes (half of their text, so the index every payment writes to stays small), times
are integer microseconds since 1970 UTC (exact, sortable, free of time zones), secrets are sealed
text. A row is built completely before anything is written, so that a value that cannot be stored
harms nobody else's transaction.
"""
