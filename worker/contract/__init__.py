"""The wire contract in code: bytes to requests, answers to bytes, copies, schemas."""

from worker.contract.events import correlation_of, event_body, result_message
from worker.contract.reading import read
from worker.contract.stored import from_stored, to_stored

__all__ = ["correlation_of", "event_body", "from_stored", "read", "result_message", "to_stored"]
