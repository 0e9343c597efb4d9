"""What keeps a worker from starting: a wrong object, and a broker nobody can tell the owner of."""

from itertools import product

import pytest

from worker.adapters.topology import Finding, Verdict
from worker.model import Environment
from worker.provisioning import bars_the_start
from worker.topology import Topology

TOPOLOGY = Topology(environment=Environment.PRODUCTION)
MARKS = (TOPOLOGY.mark, *TOPOLOGY.foreign_marks)


@pytest.mark.parametrize(("name", "verdict"), list(product((*MARKS, TOPOLOGY.work_queue), Verdict)))
def test_faults_bar_the_start_and_so_does_a_mark_that_cannot_be_seen(
    name: str, verdict: Verdict
) -> None:
    """Contract section 1: a worker refuses to run where its environment's mark is missing."""
    expected = verdict in {Verdict.MISSING, Verdict.MISMATCH} or (
        verdict is Verdict.SKIP and name in MARKS
    )
    assert bars_the_start(Finding("exchange", name, verdict), TOPOLOGY) is expected
