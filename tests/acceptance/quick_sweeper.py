"""Runs ``python -m worker ...``, its own arguments, with a sweeper that waits a second at most."""

import sys
from datetime import timedelta

from worker import sweeper
from worker.__main__ import main
from worker.app import sweeping

if __name__ == "__main__":
    vars(sweeping)["INTERVAL"] = 1.0
    vars(sweeper)["UNPUBLISHED_AGE"] = timedelta(seconds=1)
    sys.argv = sys.argv[3:]
    main()
