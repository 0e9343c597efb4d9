"""The description of the broker's objects, and the definitions made from it."""

import json
import re
from pathlib import Path

import pytest

from worker.messages import Exchange
from worker.model import Environment, Origin, Source, Step
from worker.rules import Subscriber
from worker.topology import ExchangeDeclaration, QueueDeclaration, Topology
from worker.topology.definitions import COMMITTED, definitions, example, policies
from worker.topology.roles import roles

Declared = ExchangeDeclaration | QueueDeclaration

_DCP = Subscriber(name="dcp", origins=(Origin("dcp"), Origin("unknown")))
_TOPOLOGY = Topology(environment=Environment.PRODUCTION, subscribers=(_DCP,))
_FILES = Path(__file__).parents[2] / "deploy" / "rabbitmq"


def _names(topology: Topology) -> list[str]:
    declared: list[Declared] = [*topology.exchanges, *topology.queues]
    return [one.name for one in declared]


@pytest.mark.parametrize(("file", "environment"), COMMITTED.items())
def test_the_committed_definitions_are_what_the_code_makes(
    file: str, environment: Environment
) -> None:
    assert (_FILES / file).read_text() == example(environment)


def test_production_and_staging_differ_in_the_mark_alone() -> None:
    production, staging = (example(environment).splitlines() for environment in Environment)
    differing = [pair for pair in zip(production, staging, strict=True) if pair[0] != pair[1]]
    assert [" ".join(pair).split('"')[3::4] for pair in differing] == [
        ["payments.environment.production", "payments.environment.staging"]
    ]


def test_no_password_is_in_the_definitions() -> None:
    users = json.loads(example(Environment.PRODUCTION))["users"]
    assert {user["password_hash"] for user in users} == {""}
    assert {user["tags"] for user in users} == {""}


def test_every_limited_object_has_exactly_one_policy_with_its_limits() -> None:
    kinds: dict[str, tuple[Declared, ...]] = {
        "queues": _TOPOLOGY.queues,
        "exchanges": _TOPOLOGY.exchanges,
    }
    for kind, objects in kinds.items():
        for declared in objects:
            matching = [
                policy
                for policy in policies(_TOPOLOGY)
                if policy.apply_to == kind and re.search(policy.pattern, declared.name)
            ]
            assert [dict(policy.limits) for policy in matching] == (
                [dict(declared.limits)] if declared.limits else []
            )


def test_over_amqp_the_work_queue_carries_everything_as_arguments() -> None:
    work = next(queue for queue in _TOPOLOGY.queues if queue.name == "payments.work")
    assert work.arguments == {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "payments.dlx",
        "x-dead-letter-routing-key": "dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-max-length-bytes": 4_000_000_000,
        "x-delivery-limit": 1000,
    }
    assert work.structure == {"x-queue-type": "quorum"}


@pytest.mark.parametrize("step", Step)
def test_a_rung_waits_its_time_and_gives_back_at_least_once(step: Step) -> None:
    rung = next(q for q in _TOPOLOGY.queues if q.name == f"payments.retry.v1.{step}")
    assert rung.structure == {
        "x-queue-type": "quorum",
        "x-message-ttl": step.seconds * 1000,
        "x-dead-letter-exchange": "payments.requeue",
        "x-dead-letter-routing-key": "work",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


@pytest.mark.parametrize("name", ["dlq", "parking", "unrouted", "unclaimed", "results.dcp"])
def test_a_queue_that_holds_money_has_a_huge_delivery_limit_and_no_expiry(name: str) -> None:
    """From RabbitMQ 4.0 the default limit of 20 would delete a letter that is looked at."""
    queue = next(queue for queue in _TOPOLOGY.queues if queue.name == f"payments.{name}")
    assert queue.arguments["x-delivery-limit"] == 1_000_000
    assert queue.arguments["x-overflow"] == "reject-publish"
    assert "x-message-ttl" not in queue.arguments


def test_results_have_no_alternate_exchange_and_no_catch_all() -> None:
    """Either would make every event routed, and a missing subscriber would go unnoticed."""
    results = next(e for e in _TOPOLOGY.exchanges if e.name == "payments.results")
    keys = {b.routing_key for b in _TOPOLOGY.bindings if b.exchange == "payments.results"}
    assert results.arguments == {}
    assert keys == {"payment.result.dcp.*", "payment.result.unknown.*"}


@pytest.mark.parametrize(
    ("exchange", "source"),
    [
        ("payments.requests", Source.REQUESTS),
        ("payments.requeue", Source.LADDER),
        ("payments.replay", Source.REPLAY),
        ("payments.retry", Source.ELSEWHERE),
        ("other.requeue", Source.ELSEWHERE),
        ("", Source.ELSEWHERE),
    ],
)
def test_only_the_two_internal_exchanges_are_believed(exchange: str, source: Source) -> None:
    assert _TOPOLOGY.source_of(exchange) is source


def test_another_prefix_names_everything_anew() -> None:
    topology = Topology(environment=Environment.STAGING, prefix="demo-7.", subscribers=(_DCP,))
    assert all(name.startswith("demo-7.") for name in _names(topology))
    assert topology.exchange(Exchange.DEAD_LETTER) == "demo-7.dlx"
    assert "payments." not in definitions(topology, producers=())


@pytest.mark.parametrize("prefix", ["", "pay ments.", "payments.#", "é", "x" * 65])
def test_a_prefix_that_is_no_name_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(prefix)}$"):
        Topology(environment=Environment.STAGING, prefix=prefix)


def test_every_binding_joins_objects_that_exist() -> None:
    exchanges = {exchange.name for exchange in _TOPOLOGY.exchanges}
    queues = {queue.name for queue in _TOPOLOGY.queues}
    assert {binding.exchange for binding in _TOPOLOGY.bindings} <= exchanges
    assert {binding.queue for binding in _TOPOLOGY.bindings} == queues


@pytest.mark.parametrize(
    ("user", "writes", "reads"),
    [
        ("erp-dcp", {"requests"}, set()),
        (
            "payworker",
            {"results", "retry", "dlx"},
            {"work", "environment.production", "environment.staging"},
        ),
        ("dcp", set(), {"results.dcp"}),
        ("ops-replay", {"replay", "dlx"}, {"dlq", "parking", "unrouted", "unclaimed"}),
    ],
)
def test_each_user_has_the_least_it_needs(user: str, writes: set[str], reads: set[str]) -> None:
    role = next(role for role in roles(_TOPOLOGY, [Origin("dcp")]) if role.user == user)
    suffixes = {name.removeprefix("payments.") for name in _names(_TOPOLOGY)}
    suffixes |= {"environment.staging", "results.dcp.more", "works"}
    allowed = [
        {suffix for suffix in suffixes if re.search(pattern, f"payments.{suffix}")}
        for pattern in (role.write, role.read)
    ]
    assert allowed == [writes, reads]


def test_the_table_shows_every_object_once() -> None:
    rows = _TOPOLOGY.rows()
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in ("exchange", "queue")}
    assert counts == {"exchange": 8, "queue": 11}
    assert {
        "kind": "binding",
        "name": "payments.results",
        "details": "payment.result.dcp.* -> payments.results.dcp",
    } in rows
