"""How the interpreter serves a worker: its threads, and the garbage of its objects."""

import gc
import sys

SWITCH_SECONDS = 0.0005
"""How long a thread may have to wait for the interpreter where the event loop is busy.

A commit of the SQLite ledger is a thread's, which needs the interpreter when it begins and when it
has ended, and a group of payments waits for both. With Python's own 5 ms a commit took 1.9 ms at
half load, with this 1.3, and 0.5 instead of 1.1 until it began (measured).
"""

YOUNG_OBJECTS = 50_000
"""How many more containers may be made than freed before the youngest are looked through.

Two hundred payments under way hold more than Python's own 700 at any time, so that those were
looked through all the while and nearly nothing was found: a payment cost 1,260 microseconds, with
this 1,150, and 2 MiB more (measured; 10,000 gives nothing yet, 100,000 nothing more). Errors make
circles that wait longer to be collected: 40,000 calls in a row to a port that refuses cost 9 MiB at
most, instead of 1, which an account's breaker keeps a worker from.
"""

_COLLECTIONS = 10  # of one generation before the next older one is looked through: Python's own


def prepare_interpreter() -> None:
    """Let no thread of this process wait long for the interpreter, nor payments for the collector.

    What was made by now stays as long as the process, and is never looked through again.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, _COLLECTIONS, _COLLECTIONS)
