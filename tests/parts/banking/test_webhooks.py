"""What banking announces arrives, signed, at a real receiver."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bursar.connectors.belvo import BelvoRefused
from bursar.core.intake.jobs import Importer
from bursar.core.notices.jobs import JOBS
from bursar.core.notices.service import Means
from bursar.infra.db import Database
from bursar.infra.jobs_worker import run_worker
from bursar.kernel.actor import Actor
from bursar.parts.banking.cash import service as cash
from bursar.parts.banking.connections import service
from bursar.parts.banking.connections.service import Feeds
from bursar.parts.banking.posting import service as posting
from bursar.parts.banking.transactions import service as transactions
from tests.connectors.test_belvo import LINK, Bank, bank
from tests.core.notices.test_notices import make, means, proven, waiting
from tests.infra.servers import answer, replies, serving
from tests.infra.test_jobs import until
from tests.parts.banking.statements import NOW, importer_in, taken
from tests.parts.banking.test_cash import statement
from tests.parts.banking.test_connections import ASKED, feeds, registered

__all__ = ["bank", "feeds", "means"]


@pytest.fixture
async def importer(db: Database, tmp_path: Path) -> AsyncIterator[Importer]:
    async with importer_in(db, tmp_path) as made:
        yield made


@asynccontextmanager
async def hearing(db: Database, actor: Actor, means: Means) -> AsyncIterator[Callable[[int], Awaitable[list[Any]]]]:
    """Receive all that is announced; yields what waits for a number of events and returns (type, data) of each."""
    async with serving(replies(answer(204, b""))) as receiver:
        _, secret = await make(db, actor, means, receiver.url("/hook"))
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(db, JOBS, stop, tools=[means]))

        async def heard(number: int) -> list[Any]:
            async def delivered() -> bool:
                states = [row.state for row in await waiting(db, actor)]
                return len(states) == number and set(states) == {"delivered"}

            await until(delivered)
            assert all(proven(asked, secret) for asked in receiver.asked)
            bodies = sorted((json.loads(asked.body) for asked in receiver.asked), key=lambda body: body["timestamp"])
            return [(body["type"], body["data"]) for body in bodies]

        yield heard
        stop.set()
        await worker


async def test_a_link_that_needs_a_person_is_told_once_for_each_reason(
    db: Database, actor: Actor, feeds: Feeds, bank: Bank, means: Means
) -> None:
    id_, _ = await registered(db, actor, feeds)

    async def pull(*script: Any) -> None:
        bank.script = list(script)
        await service.pull(db, actor, feeds, connection=id_, link=LINK, now=NOW)

    async with hearing(db, actor, means) as heard:
        await pull((428, [ASKED]))
        await pull((428, [ASKED]))
        await pull((202, {"request_id": "q7"}))
        for _ in range(2):
            with pytest.raises(BelvoRefused):
                await pull((400, [{"code": "invalid_link", "request_id": "r"}]))
        await pull((404, [{"code": "not_found", "request_id": "r"}]))
        bank.script = []
        bank.links = [{"id": "new", "institution": "erebor_mx_retail", "status": "token_required"}]
        await service.refresh(db, actor, feeds, connection=id_, now=NOW)
        await service.refresh(db, actor, feeds, connection=id_, now=NOW)
        told = await heard(4)

    assert {type_ for type_, _ in told} == {"bank.attention"}
    assert sorted((data["link"], data["state"]) for _, data in told) == sorted(
        [(LINK, "token_required"), (LINK, "failed"), (LINK, "gone"), ("new", "token_required")]
    )
    assert {data["connection"] for _, data in told} == {str(id_)}


async def test_an_import_its_transactions_and_a_low_balance_are_told(
    importer: Importer, actor: Actor, means: Means, tmp_path: Path
) -> None:
    path = statement(tmp_path / "a.ofx", closing="600.00")
    async with hearing(importer.db, actor, means) as heard:
        [batch] = await taken(importer, actor, path)
        await taken(importer, actor, path)
        async with importer.db.writing(actor) as tx:
            for _ in range(2):
                await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
            while (await posting.post(tx, actor, now=NOW)).looked:
                pass
        async with importer.db.writing(actor) as tx:
            for _ in range(2):
                await cash.watch(tx, actor, lake=importer.lake, now=NOW)
        told = [one for one in await heard(4) if not one[0].startswith("finding.")]

    by_type = dict(told)
    assert sorted(type_ for type_, _ in told) == ["balance.low", "batch.imported", "transaction.created"]
    assert by_type["batch.imported"]["rows"]["taken"] == by_type["transaction.created"]["count"] == batch.rows_taken
    assert by_type["transaction.created"]["more"] is True
    assert by_type["balance.low"]["account"] == "77"
