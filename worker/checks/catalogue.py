"""Every check there is, in the order they run and are shown.

A new one is a ``Check`` in the module of its group, and nothing else; what it needs stands before
it.
"""

from worker.checks import (
    broker,
    certificates,
    clocks,
    configuration,
    ledger,
    letters,
    probes,
    providers,
    publishing,
    queues,
    schemas,
    system,
    versions,
)
from worker.checks.check import Check

CHECKS: tuple[Check, ...] = (
    *configuration.CHECKS,
    *certificates.CHECKS,
    *system.CHECKS,
    *clocks.CHECKS,
    *ledger.CHECKS,
    *broker.CHECKS,
    *queues.CHECKS,
    *publishing.CHECKS,
    *versions.CHECKS,
    *letters.CHECKS,
    *providers.CHECKS,
    *schemas.CHECKS,
    *probes.CHECKS,
)
