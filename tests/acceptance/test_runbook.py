"""Every command of deploy/runbook.md, typed as it is printed, on a machine that has the symptom.

Each section has a scenario: it makes the symptom happen, types the section's commands in their
order into an operator's shell, and compares what they show with what the page says they show. At
the end the symptom is gone, and the provider's own count says that nothing was paid twice.
"""

import asyncio
import re
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

import worker
from tests.acceptance.erp import EVERY_TAP, Erp, basket_order, checked, order
from tests.acceptance.installation import CHECKOUT, Installation
from tests.acceptance.operator_desk import PASSWORDS, Machine, Walkthrough, machine, typed
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.runbook_page import RUNBOOK, Section, anchor, read_runbook, unprinted
from tests.broker import Broker, private_broker
from tests.commands import whole_application
from tests.waiting import until
from worker.adapters.clock import SystemClock
from worker.contract.times import time_text
from worker.telemetry.metrics import Metrics

Scenario = Callable[[Broker, Path, Section], Awaitable[None]]

LOGIN = "Before you type anything"
SECTIONS: Mapping[str, Section] = {each.title: each for each in read_runbook()}
QUICK_SWEEPER = (sys.executable, "-m", "tests.acceptance.quick_sweeper")
SHORT_LADDER = (sys.executable, "-m", "tests.acceptance.short_ladder")
LONG_PAST = "2026-11-21T00:00:00Z"

_RUN = re.compile(r"\bR-[0-9a-f]+")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker() -> AsyncIterator[Broker]:
    """A node with the shipped definitions, whose users have got passwords."""
    with private_broker() as node:
        definitions = CHECKOUT / "deploy" / "rabbitmq" / "definitions.staging.json"
        await node.control("import_definitions", str(definitions))
        for user, password in PASSWORDS.items():
            await node.control("change_password", user, password)
        yield node


async def given_up(erp: Erp) -> None:
    """Have the broker give up the request at the front of its queue: nobody answers it."""
    queue = await erp.channel.get_queue("payments.work", ensure=False)
    while (request := await queue.get(fail=False)) is None:
        await SystemClock().sleep(0.05)
    await request.reject(requeue=False)
    await erp.has_depth("dlq", 1)


async def logged_in(site: Machine, section: Section) -> Walkthrough:
    """An operator at the beginning of a section, who has done what stands before all of them."""
    for each in SECTIONS[LOGIN].commands:
        if not each.command.startswith("payment-worker"):
            assert (await typed(site.directory, each.command)).code == 0
    return Walkthrough(section, site)


# --- the scenarios ------------------------------------------------------------------------------


async def before_anything(broker: Broker, directory: Path, section: Section) -> None:
    async with machine(broker, directory) as site:
        operator = Walkthrough(section, site)
        await operator.types("sudo -u payment-worker bash")
        await operator.types("export PATH")
        await operator.types("export CREDENTIALS_DIRECTORY")
        await operator.types("cd")
        await operator.types("payment-worker check")
        operator.ends()


async def provider_down(broker: Broker, directory: Path, section: Section) -> None:
    """Two hours of the ladder are left out: the worker gives up after its first attempt."""
    async with machine(broker, directory, prelude=SHORT_LADDER) as site:
        await site.provider_goes_down()
        sent = [await site.erp.send(order()) for _ in range(3)]
        sent.append(await site.erp.send(order(), headers={"not-after": LONG_PAST}))
        failed = [await site.erp.answer(each) for each in sent]
        await site.has_letters(4)
        operator = await logged_in(site, section)
        await operator.types("payment-worker check --only PRV001")
        await operator.types("payment-worker dead-letters")
        await site.provider_comes_back()
        site.prelude = ()
        await site.restart()  # its own breaker would find out within minutes
        await operator.types("payment-worker check --only PRV001")
        await operator.types("payment-worker dead-letters plan")
        await operator.types("payment-worker dead-letters replay", answer="y")
        await operator.types("payment-worker dead-letters list")
        await operator.types("payment-worker dead-letters resolve")
        await operator.types("payment-worker dead-letters")
        await operator.types("payment-worker payments report")
        operator.ends()
        applied = site.simulator.applied
        assert [applied_for(event, applied) for event in failed] == [1, 1, 1, 0]
        assert applied.total == 3


async def wrong_credentials(broker: Broker, directory: Path, section: Section) -> None:
    password = "accounts__safedebit__test__password"  # noqa: S105 - the name of its file
    async with machine(broker, directory, secrets={password: "yesterday"}) as site:
        sent = [await site.erp.send(order()) for _ in range(2)]
        failed = [await site.erp.answer(each) for each in sent]
        await site.has_letters(2)
        operator = await logged_in(site, section)
        await operator.types("payment-worker dead-letters")
        await operator.types("payment-worker config explain")
        site.put_secret(password, "demo")
        await operator.types("sudo systemctl restart payment-worker")
        await operator.types("curl")
        await operator.types("payment-worker dead-letters plan")
        await operator.types("payment-worker dead-letters replay", answer="y")
        await operator.types("payment-worker dead-letters")
        operator.ends()
        assert [applied_for(event, site.simulator.applied) for event in failed] == [1, 1]
        assert await site.erp.depth("dlq") == 0


async def no_answer(broker: Broker, directory: Path, section: Section) -> None:
    """The tap leaves the results alone: bound there, it would be a subscriber."""
    taps = {name: keys for name, keys in EVERY_TAP.items() if name != "results"}
    binding = ("payments.results", "payment.result.dcp.*")
    async with machine(broker, directory, prelude=QUICK_SWEEPER, taps=taps) as site:
        queue = await site.erp.channel.get_queue("payments.results.dcp", ensure=False)
        await queue.unbind(*binding)
        sent = [await site.erp.send(order()) for _ in range(2)]
        await site.erp.has_depth("unclaimed", 2)
        operator = await logged_in(site, section)
        shown = await operator.types("sudo journalctl", MESSAGE_ID=sent[0].message_id)
        payment_id = shown.text.split('"')[3]
        await operator.types("payment-worker payments show", PAYMENT_ID=payment_id)
        await operator.types("payment-worker check --only DLQ001")
        await queue.bind(*binding)
        await operator.types("payment-worker results resend --unclaimed")
        answers = [checked(await site.erp.take("results.dcp")) for _ in sent]
        await operator.types("payment-worker results resend --payment")
        again = checked(await site.erp.take("results.dcp"))
        assert again["payment_id"] == payment_id
        await operator.types("payment-worker results resend --origin dcp", answer="y")
        answers += [checked(await site.erp.take("results.dcp")) for _ in sent]
        assert len({event["event_id"] for event in answers}) == len(sent)
        await site.stop()
        await site.erp.send(order())
        await given_up(site.erp)
        await site.start()
        await operator.types("payment-worker dead-letters sync")
        shown = await operator.types("payment-worker dead-letters list")
        letter_id = shown.text.split()[0]
        await operator.types("payment-worker dead-letters replay", answer="y", LETTER_ID=letter_id)
        answers.append(checked(await site.erp.take("results.dcp")))
        assert answers[-1]["payment_id"] == letter_id
        await operator.types("payment-worker check --only DLQ001")
        operator.ends()
        paid = {event["payment_id"] for event in answers}
        assert [applied_for(each, site.simulator.applied) for each in paid] == [1, 1, 1]


async def replayed_by_mistake(broker: Broker, directory: Path, section: Section) -> None:
    """Slowly, so that somebody can stop it half-way."""
    async with machine(broker, directory) as site:
        sent = [await site.erp.send(order(id_societe="6")) for _ in range(8)]
        failed = [await site.erp.answer(each) for each in sent]
        await site.has_letters(8)
        companies = site.installation.table("accounts", "safedebit", "test", "companies")
        companies["6"] = companies["1"]
        site.installation.write()
        await site.restart()
        operator = await logged_in(site, section)
        plan = "payment-worker dead-letters plan --all --output wrong.plan"
        assert (await typed(site.directory, plan)).code == 0
        replay = "payment-worker dead-letters replay wrong.plan --yes --canary 1 --rate 10/m"
        shutil.copy(directory / "state", directory / "other-terminal")
        async with asyncio.TaskGroup() as elsewhere:
            mistake = elsewhere.create_task(typed(site.directory, replay, state="other-terminal"))
            await until(lambda: site.simulator.applied.total > 0, seconds=40.0)
            shown = await operator.types("payment-worker dead-letters history")
            (run,) = set(_RUN.findall(shown.text))
            second = await typed(site.directory, replay)
            assert second.code == 69
            operator.sees(second)
            await operator.types("payment-worker dead-letters stop", RUN=run)
        assert mistake.result().code == 2
        done = site.simulator.applied.total
        assert 0 < done < len(sent)
        await operator.types("payment-worker dead-letters status")
        shown = await operator.types("payment-worker dead-letters status")
        payment_id = shown.text.split()[0]
        assert payment_id in {event["payment_id"] for event in failed}
        await operator.types("payment-worker payments show", PAYMENT_ID=payment_id)
        await operator.types("payment-worker dead-letters history")
        await operator.types("payment-worker dead-letters")
        operator.ends()
        applied = site.simulator.applied
        assert sorted(applied_for(event, applied) for event in failed)[-done:] == [1] * done
        assert applied.total == done
        assert await site.erp.depth("dlq") == len(sent) - done


async def stop_everything(broker: Broker, directory: Path, section: Section) -> None:
    async with machine(broker, directory) as site:
        first = await site.erp.answer(await site.erp.send(order()))
        operator = await logged_in(site, section)
        await operator.types("payment-worker accounts")
        await operator.types("payment-worker accounts pause --all")
        waiting = [await site.erp.send(each()) for each in (order, basket_order) * 2]
        await site.erp.has_depth("work", 4)
        await operator.types("curl")
        await operator.types("payment-worker check")
        await operator.types("payment-worker accounts pause safedebit")
        await operator.types("payment-worker accounts resume --all")
        answers = [await site.erp.answer(each) for each in waiting[1::2]]
        for each in waiting[::2]:
            await site.erp.rung(each, "30s")
        await operator.types("payment-worker accounts resume safedebit")
        answers += [await site.erp.answer(each, seconds=60.0) for each in waiting[::2]]
        await operator.types("payment-worker accounts probe")
        await operator.types("payment-worker accounts")
        await operator.types("payment-worker audit verify")
        operator.ends()
        applied = [applied_for(event, site.simulator.applied) for event in (first, *answers)]
        assert applied == [1] * 5


async def queue_grows(broker: Broker, directory: Path, section: Section) -> None:
    password = "accounts__safedebit__test__password"  # noqa: S105 - the name of its file

    def change(installation: Installation) -> None:
        del installation.table("accounts")["combo"]

    async with machine(broker, directory, change=change, secrets={password: "yesterday"}) as site:
        refused = await site.erp.answer(await site.erp.send(order()))
        await site.running.tells("accounts.down")
        sent = [await site.erp.send(order()) for _ in range(3)]
        await site.erp.has_depth("work", 3)
        operator = await logged_in(site, section)
        await operator.types("curl")
        await operator.types("sudo journalctl")
        site.put_secret(password, "demo")
        await operator.types("sudo systemctl restart payment-worker")
        await operator.types("curl")
        answers = [await site.erp.answer(each) for each in sent]
        await site.stop()
        later = await site.erp.send(order())
        site.secret_file(password).chmod(0o644)
        await operator.types("sudo systemctl is-active", code=3)
        await operator.types("CREDENTIALS_DIRECTORY=", code=78)
        site.secret_file(password).chmod(0o400)
        await operator.types("CREDENTIALS_DIRECTORY=")
        await operator.types("sudo systemctl start payment-worker")
        await operator.types("curl")
        answers.append(await site.erp.answer(later))
        await operator.types("sudo rabbitmqctl")
        operator.ends()
        assert [applied_for(event, site.simulator.applied) for event in answers] == [1] * 4
        assert applied_for(refused, site.simulator.applied) == 0


async def unknown_outcome(broker: Broker, directory: Path, section: Section) -> None:
    """One that the provider has, and two that it has not."""
    async with machine(broker, directory, prelude=QUICK_SWEEPER) as site:
        magic = ("http-500-after", "http-500", "http-500")
        asked = [basket_order(email=f"sim+{name}@example.org") for name in magic]
        sent = [await site.erp.send(each) for each in asked]
        doubts = [await site.erp.answer(each) for each in sent]
        assert {event.status for event in doubts} == {"in_doubt"}
        await site.has_letters(3)
        operator = await logged_in(site, section)
        shown = await operator.types("payment-worker payments doubtful")
        ids = [event["payment_id"] for event in doubts]
        assert all(each in shown.text for each in ids)
        ((item, url),) = site.simulator.book.item_urls.items()
        assert doubts[0]["provider_reference"] in url
        await operator.types(
            "payment-worker payments settle", answer="y", PAYMENT_ID=ids[0], ITEM=item
        )
        await operator.types("payment-worker payments settle", answer="y", GIVEN_UP=ids[1])
        await operator.types("payment-worker payments settle", answer="y", ONCE_MORE=ids[2])
        site.simulator.stop_faults()
        await operator.types("payment-worker dead-letters replay", answer="y")
        await operator.types("payment-worker payments doubtful")
        operator.ends()
        ends = [await site.erp.answer(each, number=2) for each in sent]
        assert [end.status for end in ends] == ["succeeded", "failed", "succeeded"]
        applied = site.simulator.applied
        assert [applied_for(event, applied) for event in doubts] == [1, 0, 1]


async def paid_although_failed(broker: Broker, directory: Path, section: Section) -> None:
    async with machine(broker, directory) as site:
        asked = basket_order(email="sim+refuse-once@example.org")
        failed = await site.erp.answer(await site.erp.send(asked))
        await site.has_letters(1)
        operator = await logged_in(site, section)
        shown = await operator.types(
            "payment-worker payments find", ORDER=str(asked["id_commande"])
        )
        payment_id = shown.text.split()[0]
        assert payment_id == failed["payment_id"]
        await operator.types("payment-worker payments show", PAYMENT_ID=payment_id)
        await operator.types("payment-worker dead-letters resolve")
        await operator.types("payment-worker dead-letters list")
        operator.ends()
        assert site.simulator.applied.total == 0
        assert await site.erp.depth("dlq") == 0


async def wrong_email(broker: Broker, directory: Path, section: Section) -> None:
    async with machine(broker, directory) as site:
        sent = await site.erp.send(order(email="sim+reject-exist-002@example.org"))
        failed = await site.erp.answer(sent)
        await site.has_letters(1)
        operator = await logged_in(site, section)
        shown = await operator.types("payment-worker dead-letters list")
        payment_id, email = shown.text.split()[0], "client@example.org"
        await operator.types(
            "PAYMENT_WORKER_OPERATORS", answer="y", PAYMENT_ID=payment_id, NEW_EMAIL=email
        )
        await operator.types("payment-worker dead-letters replay", answer="y")
        await operator.types("payment-worker dead-letters list")
        operator.ends()
        assert failed["code"] == "customer_unknown"
        assert applied_for(failed, site.simulator.applied) == 1


async def customer_erased(broker: Broker, directory: Path, section: Section) -> None:
    """Known by a customer number once, and under his e-mail by another one."""
    asked = order(id_client="77001", id_societe="6", email="client@example.org")
    async with machine(broker, directory) as site:
        await site.erp.answer(await site.erp.send(asked))
        content = order(email="Client@Example.org")
        paid = await site.erp.send(content)
        with_link = await site.erp.answer(paid)
        await site.has_letters(1)
        operator = await logged_in(site, section)
        who = {"CLIENT": "77001", "COMPANY": "6"}
        await operator.types("payment-worker payments find", code=0, **who)
        await operator.types("payment-worker payments export")
        await operator.types("payment-worker payments erase --client", answer="y")
        await operator.types(
            "payment-worker payments erase --email", answer="y", email="client@example.org"
        )
        await operator.types("payment-worker payments find --email", email="client@example.org")
        operator.ends()
        assert await site.erp.depth("dlq") == 0
        again = await site.erp.send(content, message_id=paid.message_id)
        repeated = await site.erp.answer(again)
        assert (repeated["event_id"], repeated["link"]) == (with_link["event_id"], None)
        assert site.simulator.applied.total == 1


async def key_replaced(broker: Broker, directory: Path, section: Section) -> None:
    async with machine(broker, directory) as site:
        paid = await site.erp.send(order())
        with_link = await site.erp.answer(paid)
        operator = await logged_in(site, section)
        await operator.types("payment-worker ledger keys")
        await operator.types("umask")
        await operator.types("payment-worker ledger key")
        await operator.types("cat")
        await operator.types("install")
        await operator.types("sudo systemctl restart")
        await operator.types("payment-worker ledger rekey", answer="y")
        await operator.types("install")
        await operator.types("sudo systemctl restart")
        await operator.types("rm")
        await operator.types("payment-worker ledger keys")
        operator.ends()
        again = await site.erp.send(order(), message_id=paid.message_id)
        assert (await site.erp.answer(again))["code"] == "idempotency_mismatch"
        resent = f"payment-worker results resend --payment {with_link['payment_id']} --reason key"
        assert (await typed(site.directory, resent)).code == 0


async def from_a_backup(broker: Broker, directory: Path, section: Section) -> None:
    """A basket item that was paid after the backup, and of which the backup knows the beginning."""
    async with machine(broker, directory, prelude=QUICK_SWEEPER) as site:
        ledger = site.installation.ledger
        sent = await site.erp.send(basket_order(email="sim+flaky-4@example.org"))
        await site.erp.rung(sent, "5s")
        await site.stop()
        begun = time_text(SystemClock().now())
        backup = shutil.copy(ledger, directory / "backup")
        await site.start()
        paid = await site.erp.answer(sent)
        assert paid.status == "succeeded"
        await site.stop()
        ledger.unlink()
        operator = await logged_in(site, section)
        await operator.types("payment-worker check --only LED001", code=78)
        await operator.types("sudo systemctl stop payment-worker")
        shutil.copy(backup, ledger)
        await operator.types("payment-worker check --only LED001")
        await operator.types("payment-worker ledger restored", answer="y", BACKUP_TIME=begun)
        await operator.types("sudo systemctl start payment-worker")
        await operator.types("sudo journalctl")
        await operator.types("payment-worker dead-letters list")
        operator.ends()
        doubt = await site.erp.answer(sent, number=2)
        assert (doubt.status, doubt["code"]) == ("in_doubt", "ledger_lost")
        assert applied_for(paid, site.simulator.applied) == 1


async def disk_or_lock(broker: Broker, directory: Path, section: Section) -> None:
    """Full is what the settings call so: a test does not fill a disk."""
    async with machine(broker, directory) as site:
        ledger = site.installation.table("ledger")
        await site.stop()
        sent = await site.erp.send(order())
        operator = await logged_in(site, section)
        ledger["minimum_free_mib"] = 10**7
        site.installation.write()
        with closing(sqlite3.connect(site.installation.ledger, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            await operator.types("payment-worker check --only SYS003,LED001", code=69)
            ledger["minimum_free_mib"] = 200
            site.installation.write()
            await operator.types("payment-worker check --only SYS003,LED001", code=69)
        await operator.types("payment-worker check --only SYS003,LED001")
        await operator.types("sudo systemctl start payment-worker")
        await operator.types("curl")
        operator.ends()
        answer = await site.erp.answer(sent)
        assert applied_for(answer, site.simulator.applied) == 1


SCENARIOS: Mapping[str, Scenario] = {
    LOGIN: before_anything,
    "The provider was down for an hour": provider_down,
    "Wrong credentials": wrong_credentials,
    "DCP says it got no answer": no_answer,
    "Replayed by mistake": replayed_by_mistake,
    "Stop everything": stop_everything,
    "The queue grows": queue_grows,
    "An unknown outcome": unknown_outcome,
    "Paid although we said failed": paid_although_failed,
    "The customer's e-mail is wrong": wrong_email,
    "A customer asks to be erased": customer_erased,
    "A key of the ledger is replaced": key_replaced,
    "The ledger came from a backup": from_a_backup,
    "The disk is full, or the ledger is locked": disk_or_lock,
}


@pytest.mark.broker
@pytest.mark.time_limit(120)  # a dozen commands, each a process that imports the product
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("title", SCENARIOS)
async def test_every_command_of_a_section_is_typed_as_printed_and_ends_the_symptom(
    broker: Broker, tmp_path: Path, title: str
) -> None:
    await SCENARIOS[title](broker, tmp_path, SECTIONS[title])


# --- the page itself ----------------------------------------------------------------------------


def test_every_section_that_prints_a_command_has_a_scenario() -> None:
    shown = {each.title for each in SECTIONS.values() if each.commands or each.quoted}
    assert shown == set(SCENARIOS)


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    wanted = re.findall(r"\]\(#([^)]+)\)", RUNBOOK.read_text("utf-8"))
    assert set(wanted) <= {anchor(title) for title in SECTIONS}
    assert {anchor(title) for title in SCENARIOS} - {anchor(LOGIN)} <= set(wanted)


def test_every_command_that_the_prose_names_exists() -> None:
    named = re.findall(r"`payment-worker ([^`]+)`", _prose())
    assert len(named) > 10
    for words in named:
        command = whole_application()
        for word in words.split():
            if word.startswith("-"):
                assert word in {name for each in command.params for name in each.opts}, words
            elif hasattr(command, "commands") and word in command.commands:
                command = command.commands[word]
            else:
                assert not hasattr(command, "commands"), words


def test_a_line_that_was_not_shown_is_found() -> None:
    shown = "5 dead letters\n\x1b[1mRun R-1a2b\x1b[0m has ended:  3 of 3\nNext: 1.50 EUR of root\n"
    assert unprinted(["Run R-ffff has ended: 2 of 2", "…", "Next: …"], shown, actor="root") is None
    assert unprinted(["Next: 12.50 EUR of m.durand"], shown, actor="root") is None
    assert unprinted(["Next: 1.50 EUR"], shown, actor="root") == "Next: 1.50 EUR"
    assert unprinted(["Next: …", "5 dead letters"], shown, actor="root") == "5 dead letters"


def test_every_metric_that_the_page_names_is_one_of_the_worker() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    known = {
        name for metric in registry.collect() for name in (metric.name, f"{metric.name}_total")
    }
    named = set(re.findall(r"payment_worker_[a-z_]+[a-z]", _prose()))
    assert {name for name in named if not name.startswith("payment_worker_broker_")} <= known


def test_every_word_of_the_worker_that_the_page_quotes_stands_in_the_product() -> None:
    """Codes, log lines, states and sentences in the page's prose, which no command prints here."""
    product = "\n".join(file.read_text("utf-8") for file in _modules())
    quoted = set(re.findall(r"`([a-z]+(?:[._ ][a-z]+)+)`", _prose()))
    pauses = {word.removeprefix("paused: ") for word in quoted if word.startswith("paused: ")}
    words = (quoted | pauses) - {f"paused: {word}" for word in pauses}
    ours = {word for word in words if not word.startswith(("payments.", "payment_worker_"))}
    missing = {word for word in ours if word not in product and not _is_shown_spaced(word, product)}
    assert missing == set()
    assert len(ours) > 20


def _is_shown_spaced(word: str, product: str) -> bool:
    """Names of facts are shown with spaces, and stand in the code with underscores."""
    return word.replace(" ", "_") in product


def _modules() -> Sequence[Path]:
    return sorted(Path(worker.__file__).parent.rglob("*.py"))


def _prose() -> str:
    """The page without what its commands are and print: that is compared when they are typed."""
    return re.sub(r"```(?:console|text)\n.*?```", "", RUNBOOK.read_text("utf-8"), flags=re.DOTALL)
