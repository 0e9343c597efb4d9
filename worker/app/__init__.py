"""The composition root: builds the worker, starts it in order, stops it in order."""

from worker.app.endless import PartEndedError
from worker.app.probing import ProbePortError
from worker.app.worker import LedgerFailedError, Worker

__all__ = ["LedgerFailedError", "PartEndedError", "ProbePortError", "Worker"]
