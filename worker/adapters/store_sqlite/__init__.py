"""The durable store on SQLite: ``initialise`` makes the file, ``SqliteStore.open`` uses it."""

from worker.adapters.store_migrations import Initialisation
from worker.adapters.store_sqlite.schema import initialise
from worker.adapters.store_sqlite.store import SqliteStore

__all__ = ["Initialisation", "SqliteStore", "initialise"]
