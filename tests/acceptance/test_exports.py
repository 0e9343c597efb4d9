"""Dead letters carried in a file from one virtual host to another, and replayed there."""

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aio_pika.abc import AbstractIncomingMessage

from tests.acceptance.erp import Answer, Sent, basket_order, connected_erp, order
from tests.acceptance.provider_cases import applied_for
from tests.acceptance.shared_site import Site, site_of
from tests.acceptance.worker_process import started
from tests.broker import Broker
from tests.waiting import until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.time_limit(180),  # a dozen commands each, and every one imports the product
]

ELSEWHERE = "elsewhere"
EMAIL = "sim+refuse-once@example.org"


@asynccontextmanager
async def another_virtual_host(broker: Broker) -> AsyncIterator[str]:
    """A virtual host of its own, with everything in it gone at the end."""
    everything = '<<".*">>'
    await broker.evaluate(
        f'rabbit_vhost:add(<<"{ELSEWHERE}">>, <<"test">>), '
        "rabbit_auth_backend_internal:set_permissions("
        f'<<"guest">>, <<"{ELSEWHERE}">>, {everything}, {everything}, {everything}, <<"test">>).'
    )
    try:
        yield ELSEWHERE
    finally:
        await broker.evaluate(f'rabbit_vhost:delete(<<"{ELSEWHERE}">>, <<"test">>).')


async def failed(site: Site, *asked: dict[str, object]) -> list[tuple[Sent, Answer]]:
    """Payments that fail and are dead-lettered."""
    found = []
    for each in asked:
        sent = await site.erp.send(each)
        found.append((sent, await site.erp.answer(sent)))
        await site.erp.letter(sent)
    return found


def facts(letter: AbstractIncomingMessage) -> tuple[object, ...]:
    """All of a letter that a copy keeps."""
    headers = dict(letter.headers)
    return letter.body, letter.message_id, letter.correlation_id, letter.type, headers


async def test_letters_exported_here_are_imported_and_replayed_elsewhere(
    broker: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "letters.jsonl"
    dead = ("dead-letters",)
    async with (
        another_virtual_host(broker) as elsewhere,
        site_of(broker, tmp_path, ends_well=False) as site,
    ):
        run, erp = site.installation.run, site.erp
        (link, first), (basket, second) = await failed(
            site, order(email=EMAIL), basket_order(email=EMAIL)
        )
        assert await site.worker.stop() == 0
        export = (*dead, "export", "--all", "--output", str(file))
        asks = await run(*export)
        assert (asks.code, file.exists()) == (64, False)
        assert "e-mail addresses" in asks.complaint
        done = await run(*export, "--yes", "--json")
        assert (done.code, done.data["letters"], done.data["complete"]) == (0, 2, True)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert EMAIL not in done.output + done.complaint
        await erp.has_depth("dlq", 2)
        some = await run(
            *(*dead, "export", first["payment_id"], "--yes", "--json"),
            *("--output", str(tmp_path / "one.jsonl")),
        )
        assert (some.code, some.data["letters"]) == (0, 1)
        piped = await run(*dead, "export", "--all", "--output", "-", "--yes")
        assert piped.code == 0
        *_, seal = piped.output.splitlines()
        assert json.loads(seal)["letters"] == 2

        site.installation.table("broker")["virtual_host"] = elsewhere
        site.installation.write()
        async with (
            started(site.installation),
            connected_erp(broker, site.installation.prefix, virtual_host=elsewhere) as there,
        ):
            bring_in = (*dead, "import", str(file), "-o", "jsonl")
            rehearsed = await run(*bring_in, "--dry-run")
            assert rehearsed.code == 0
            assert await there.depth("dlq") == 0
            fates = [
                json.loads(line) for line in (await run(*bring_in, "--yes")).output.splitlines()
            ]
            assert [each.get("fate") for each in fates] == ["imported", "imported", None]
            await there.has_depth("dlq", 2)
            for sent in (link, basket):
                assert facts(await there.letter(sent)) == facts(erp.letters(sent)[-1])
            again = await run(*bring_in, "--yes")
            assert json.loads(again.output.splitlines()[-1])["present"] == 2
            await there.has_depth("dlq", 2)
            for event in (first, second):
                replayed = await run(*dead, "replay", event["payment_id"], "--yes")
                assert replayed.code == 0, replayed.complaint
                await until(lambda: there.heard_of(event["payment_id"]))  # noqa: B023 - awaited here
                (answer,) = there.heard_of(event["payment_id"])
                assert (answer.status, answer["sequence"]) == ("succeeded", 2)
                assert applied_for(event, site.simulator.applied) == 1
            over = await run(*bring_in, "--yes")
            assert json.loads(over.output.splitlines()[-1])["done"] == 2
            await there.has_depth("dlq", 0)
