"""Runs ``python -m worker ...``, its own arguments, with a ladder of no steps.

A request that the provider did not take is given up after its first attempt, as it is elsewhere
after two hours.
"""

import sys

from worker import retry
from worker.__main__ import main
from worker.lifecycle import limits

if __name__ == "__main__":
    for module in (retry, limits):
        vars(module)["LADDER"] = ()
    sys.argv = sys.argv[3:]
    main()
