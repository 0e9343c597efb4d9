"""Editing the e-mail of a dead letter: as commands, against a real broker and the simulator."""

import asyncio
import os
import pty
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.acceptance.erp import Answer, Sent, basket_order, order, payment_id_of
from tests.acceptance.installation import CHECKOUT, Finished, Installation
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.shared_site import Site, site_of
from tests.broker import Broker

UNKNOWN = "sim+reject-exist-002@example.org"
NEW = "jo.new.person@example.com"


def may_edit(installation: Installation) -> None:
    installation.table("operators")["may_edit_email"] = True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A site whose operators may edit e-mails."""
    async with site_of(broker, tmp_path_factory.mktemp("edits"), may_edit) as site:
        yield site


pytestmark = [
    pytest.mark.broker,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.time_limit(180),  # a dozen commands each, and every one imports the product
]


def words(payment_id: str, email: str = NEW) -> tuple[str, ...]:
    return ("dead-letters", "edit", payment_id, "--email", email, "--reason", "customer called")


async def edited(site: Site, payment_id: str, email: str = NEW) -> Finished:
    return await site.installation.run(*words(payment_id, email), "--yes", "--json")


async def failed(site: Site, asked: dict[str, object]) -> tuple[Sent, Answer]:
    sent = await site.erp.send(asked)
    event = await site.erp.answer(sent)
    await site.erp.letter(sent)
    assert event["result"] is False
    return sent, event


@pytest.mark.parametrize(
    ("make", "code"),
    [(order, "customer_unknown"), (basket_order, "provider_refused")],
    ids=["link", "basket"],
)
async def test_a_payment_for_an_unknown_customer_is_edited_replayed_and_paid_once(
    site: Site, make: Callable[..., dict[str, object]], code: str
) -> None:
    asked = make(email=UNKNOWN, commentaire="naïve \u20ac", extra={"email": UNKNOWN})
    sent, event = await failed(site, asked)
    payment_id = event["payment_id"]
    assert event["code"] == code
    depth = await site.erp.depth("dlq")
    done = await edited(site, payment_id)
    assert (done.code, done.data["result"], done.data["sequence"]) == (0, "edited", 1)
    assert f"Next: payment-worker dead-letters replay {payment_id}" in done.complaint
    await site.erp.has_depth("dlq", depth)
    again = await edited(site, payment_id)
    assert (again.code, again.data["result"]) == (0, "unchanged")
    listed = await site.installation.run("dead-letters", "list", "--payment", payment_id, "--json")
    assert [row["verdict"] for row in listed.rows] == ["safe"]
    replayed = await site.installation.run(
        *("dead-letters", "replay", payment_id, "--reason", "e-mail mended", "--yes", "--json")
    )
    assert replayed.code == 0, replayed.complaint
    answer = await site.erp.answer(sent, number=2)
    assert (answer.status, answer["sequence"], answer["payment_id"]) == ("succeeded", 2, payment_id)
    assert applied_for(answer, site.simulator.applied) == 1
    await site.erp.has_depth("dlq", depth - 1)
    shown = await site.installation.run("payments", "show", payment_id, "--json")
    for text in (done.output, done.complaint, again.output, shown.output, replayed.output):
        assert "person" not in text
        assert UNKNOWN not in text
    assert "e-mail changed" in shown.output
    late = await edited(site, payment_id)
    assert (late.code, late.data["reason"]) == (1, "it is decided: succeeded")


async def test_the_same_request_once_more_is_another_content_now(site: Site) -> None:
    """Contract section 2: same identity, another fingerprint; the edited payment is untouched."""
    asked = order(email=UNKNOWN)
    sent, event = await failed(site, asked)
    assert (await edited(site, event["payment_id"])).code == 0
    repeat = await site.erp.send(asked, message_id=sent.message_id)
    answer = await site.erp.answer(repeat)
    assert (answer["code"], answer["conflicts_with"]) == (
        "idempotency_mismatch",
        event["payment_id"],
    )


async def test_a_person_is_shown_the_difference_and_asked(site: Site) -> None:
    _, event = await failed(site, order(email=UNKNOWN))
    payment_id = event["payment_id"]
    no = await asked_at_a_terminal(site.installation, words(payment_id), "n\n")
    assert no.code == 2
    assert "- s***2@example.org" in no.complaint
    assert "+ j***n@example.com" in no.complaint
    assert f"Change the e-mail of {payment_id}?" in no.complaint
    yes = await asked_at_a_terminal(site.installation, words(payment_id), "y\n")
    assert (yes.code, "The e-mail is changed" in yes.complaint) == (0, True)
    assert (await edited(site, payment_id)).data["result"] == "unchanged"


async def test_what_may_have_been_applied_is_not_edited(site: Site) -> None:
    _, event = await failed(site, basket_order(email="sim+http-500-after@example.org"))
    done = await edited(site, event["payment_id"])
    assert (done.code, done.data["result"]) == (1, "not_edited")
    assert done.data["reason"] == "it is decided: in_doubt"


async def test_a_message_refused_for_its_email_is_paid_under_its_own_key(site: Site) -> None:
    sent, event = await failed(site, order(email="nobody"))
    depth = await site.erp.depth("dlq")
    done = await edited(site, event["payment_id"])
    assert (done.code, done.data["result"]) == (0, "asked_again"), done.complaint
    payment_id = payment_id_of("dcp", sent.message_id)
    assert done.data["payment_id"] == payment_id != event["payment_id"]
    answer = await site.erp.answer(sent, number=2)
    assert (answer.status, answer["payment_id"], answer["sequence"]) == ("succeeded", payment_id, 1)
    assert applied_for(answer, site.simulator.applied) == 1
    await site.erp.has_depth("dlq", depth - 1)
    listed = await site.installation.run("dead-letters", "list", "--json")
    assert event["payment_id"] not in {row["payment_id"] for row in listed.rows}


async def test_a_message_refused_for_more_is_left_to_its_producer(site: Site) -> None:
    _, event = await failed(site, order(email="nobody", amount="0"))
    done = await edited(site, event["payment_id"])
    assert (done.code, done.data["result"]) == (1, "not_edited")
    assert "its producer sends it corrected" in done.data["reason"]


async def asked_at_a_terminal(
    installation: Installation, arguments: tuple[str, ...], answer: str
) -> Finished:
    """Run a command whose user sits at a terminal, and answer its question."""
    master, slave = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *installation.command(*arguments),
            cwd=CHECKOUT,
            stdin=slave,
            stdout=asyncio.subprocess.PIPE,
            stderr=slave,
        )
        told = b""
        try:
            async with asyncio.timeout(40):
                while b"[y/N]" not in told:
                    told += await asyncio.to_thread(os.read, master, 4096)
                os.write(master, answer.encode())
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        os.set_blocking(master, False)
        told += os.read(master, 65536)
    finally:
        os.close(master)
        os.close(slave)
    return Finished(process.returncode or 0, output.decode(), told.decode())
