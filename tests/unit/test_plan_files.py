"""Plan files: written whole or not at all, and refused unless they are as they were written."""

import json
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes_clock import START
from worker.codes import Code
from worker.letters import Verdict
from worker.model import Environment, RunMode
from worker.operators.plans.files import PlanError, plan_rows, read_plan, writing_plan
from worker.operators.plans.rows import LIFETIME, Plan, PlanHeader, PlanRow, PlanTotal
from worker.records import Kind

HEADER = PlanHeader(
    environment=Environment.STAGING,
    created_at=START,
    expires_at=START + LIFETIME,
    actor="o.perator",
    wanted={"code": "provider_unavailable"},
)
ROW = PlanRow(
    operation_id=UUID(int=1),
    kind=Kind.INITIATION,
    payment_id=UUID(int=1),
    sequence=1,
    code=Code.PROVIDER_UNAVAILABLE,
    verdict=Verdict.SAFE,
    reason="Nothing was applied; the provider was away.",
    amount=1250,
    mode=RunMode.TEST,
)
UNANSWERED = replace(ROW, operation_id=UUID(int=2), code=None, amount=None, mode=None)
HOPELESS = replace(ROW, operation_id=UUID(int=3), verdict=Verdict.HOPELESS, amount=99)
ROWS = (ROW, UNANSWERED, HOPELESS, replace(ROW, operation_id=UUID(int=4), amount=750))


def written(path: Path, rows: Iterable[PlanRow] = ROWS, header: PlanHeader = HEADER) -> Plan:
    with writing_plan(path, header) as writer:
        for row in rows:
            writer.add(row)
        return writer.seal()


def read(path: Path, *, hours: int = 0) -> Plan:
    now = START + timedelta(hours=hours)
    return read_plan(path, now=now, environment=Environment.STAGING)


def refused(path: Path, *, hours: int = 0) -> str:
    with pytest.raises(PlanError) as error:
        read(path, hours=hours)
    assert error.value.message.endswith(".")
    assert error.value.fix
    return error.value.code


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = written(tmp_path / "plan.json")
    assert read(plan.path) == plan
    assert tuple(plan_rows(plan.path)) == ROWS
    assert tuple(plan_rows(plan.path, sha256_wanted=plan.sha256)) == ROWS
    away = PlanTotal(
        code=Code.PROVIDER_UNAVAILABLE,
        verdict=Verdict.SAFE,
        reason=ROW.reason,
        mode=RunMode.TEST,
        count=2,
        cents=2000,
    )
    assert plan.totals == (
        replace(away, code=None, mode=None, count=1, cents=0),
        replace(away, verdict=Verdict.HOPELESS, count=1, cents=99),
        away,
    )
    assert (plan.size, plan.counts[Verdict.SAFE], plan.counts[Verdict.UNKNOWN]) == (4, 3, 0)
    assert plan.cents(Verdict.SAFE) == {None: 0, RunMode.TEST: 2000}


def test_a_plan_is_json_lines_that_only_its_owner_may_read(tmp_path: Path) -> None:
    path = written(tmp_path / "plan.json").path
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 1 + len(ROWS) + 1 + 1
    assert lines[0]["plan"]["actor"] == "o.perator"
    assert lines[1]["amount"] == 1250
    assert set(lines[-1]) == {"sha256"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_plan_without_rows_is_a_plan(tmp_path: Path) -> None:
    plan = written(tmp_path / "plan.json", rows=())
    assert read(plan.path).size == 0
    assert not list(plan_rows(plan.path))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_change_of_one_byte_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A byte changed, left out or put in, wherever it stands: no row is used."""
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    written(path)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    changed = data.draw(
        st.sampled_from(
            [
                whole[:place] + bytes([byte]) + whole[place + 1 :],
                whole[:place] + whole[place + 1 :],
                whole[:place] + bytes([byte]) + whole[place:],
            ]
        )
    )
    path.write_bytes(changed)
    refused(path)
    with pytest.raises(PlanError):
        next(plan_rows(path))


def test_every_way_to_be_useless_has_its_own_word(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert refused(path) == "plan_missing"
    whole = written(path).path.read_bytes()
    assert refused(path, hours=4) == "plan_expired"
    path.write_bytes(whole[: len(whole) // 2])
    assert refused(path) == "plan_truncated"
    path.write_bytes(whole.replace(b"1250", b"9250"))
    assert refused(path) == "plan_changed"
    path.write_bytes(whole.replace(b'"version":1', b'"version":2'))
    assert refused(path) == "plan_newer"
    path.write_bytes(b'{"any": "thing"}\n')
    assert refused(path) == "plan_unreadable"
    path.write_bytes(b"")
    assert refused(path) == "plan_unreadable"
    path.write_bytes(b"\xff" * 200_000)
    assert refused(path) == "plan_unreadable"
    elsewhere = replace(HEADER, environment=Environment.PRODUCTION)
    assert refused(written(tmp_path / "other.json", header=elsewhere).path) == "plan_foreign"


def test_rows_of_another_plan_than_the_one_read_are_not_used(tmp_path: Path) -> None:
    first = written(tmp_path / "plan.json")
    written(first.path, rows=[HOPELESS])
    with pytest.raises(PlanError, match="another plan"):
        next(plan_rows(first.path, sha256_wanted=first.sha256))


def test_a_plan_that_is_changed_while_it_is_read_is_told_of(tmp_path: Path) -> None:
    """A person with an editor may rewrite the file in place, rename or not."""
    many = [replace(ROW, operation_id=UUID(int=n), amount=1000) for n in range(2000)]
    path = written(tmp_path / "plan.json", rows=many).path
    rows = plan_rows(path)
    next(rows)
    whole = path.read_bytes()
    with path.open("r+b") as stream:
        stream.seek(whole.rindex(b'"amount":1000'))
        stream.write(b'"amount":9000')
    with pytest.raises(PlanError, match="while it was read"):
        list(rows)


def interrupted() -> Iterator[PlanRow]:
    yield HOPELESS
    raise InterruptedError


def test_an_interrupted_plan_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    first = written(path)
    with pytest.raises(InterruptedError):
        written(path, rows=interrupted())
    with writing_plan(path, HEADER) as writer:
        writer.add(HOPELESS)
    assert read(path) == first
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


def test_a_plan_never_replaces_another_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('environment = "production"\n', encoding="utf-8")
    with pytest.raises(PlanError) as error:
        written(path)
    assert error.value.code == "plan_place_taken"
    assert path.read_text(encoding="utf-8").startswith("environment")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as error:
        written(tmp_path / "missing" / "plan.json")
    assert error.value.code == "plan_not_written"
