"""The doctor: what must be true for payments to flow, looked at one thing at a time.

Verdicts are pure functions over what was seen; each group of checks is a module; nothing here
changes the deployment. Ids, profiles and verdicts: operations, section 3.
"""

from worker.checks.catalogue import CHECKS
from worker.checks.check import Check
from worker.checks.configuration import AFTER_FAULTS
from worker.checks.deployment import NOT_VISIBLE, Deployment
from worker.checks.examination import NEEDS, UnknownCheckError, choose, examine
from worker.checks.verdicts import Blame, Group, Row, Verdict, gravest

__all__ = [
    "AFTER_FAULTS",
    "CHECKS",
    "NEEDS",
    "NOT_VISIBLE",
    "Blame",
    "Check",
    "Deployment",
    "Group",
    "Row",
    "UnknownCheckError",
    "Verdict",
    "choose",
    "examine",
    "gravest",
]
