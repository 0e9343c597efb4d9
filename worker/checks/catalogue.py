"""Every check there is, in the order they run and are shown.

A new one is a ``Check`` in the module of its group, and nothing else; what it needs stands before
it.
"""

from worker.checks import (
    broker,
    certificates,
    configuration,
    ledger,
    probes,
    providers,
    publishing,
    queues,
    schemas,
    system,
)
from worker.checks.check import Check

CHECKS: tuple[Check, ...] = (
    *configuration.CHECKS,
    *certificates.CHECKS,
    *system.CHECKS,
    *ledger.CHECKS,
    *broker.CHECKS,
    *queues.CHECKS,
    *publishing.CHECKS,
    *broker.LETTER_CHECKS,
    *providers.CHECKS,
    *schemas.CHECKS,
    *probes.CHECKS,
)
