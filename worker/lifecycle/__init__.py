"""The life of one operation: what the ledger may write, and what each write decides.

Everything here is pure: a function takes the rows of a transaction as a ``View`` and returns a
``Change``. A store runs it inside one durable write, so the rules are the same on every engine.
"""
