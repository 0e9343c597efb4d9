"""The durable store on PostgreSQL: ``initialise`` makes it, ``PostgresStore.open`` uses it."""

from worker.adapters.store_postgres.schema import initialise
from worker.adapters.store_postgres.store import PostgresStore

__all__ = ["PostgresStore", "initialise"]
