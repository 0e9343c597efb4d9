"""Runs ``python -m worker ...``, its own arguments, with a sweeper that waits a second at most.

Its look-ups come as quickly: the minutes of their schedule are seconds.
"""

import sys
from datetime import timedelta

from worker import reconciler, sweeper
from worker.__main__ import main
from worker.app import reconciling, sweeping
from worker.lifecycle import reconcile

if __name__ == "__main__":
    vars(sweeping)["INTERVAL"] = 1.0
    vars(sweeper)["UNPUBLISHED_AGE"] = timedelta(seconds=1)
    vars(reconciling)["INTERVAL"] = 1.0
    vars(reconciler)["PAUSE"] = 0.02
    vars(reconcile)["STEPS"] = tuple(timedelta(seconds=each) for each in (1, 3, 5, 7, 9, 7200))
    sys.argv = sys.argv[3:]
    main()
