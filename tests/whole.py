"""The whole application on a fresh database, with one person of each role, a key and a stranger, for tests across it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import FastAPI

from bursar import wiring
from bursar.core.identity.keys import service as keys
from bursar.core.identity.rules.rights import ROLES
from bursar.core.identity.sessions import service as sessions
from bursar.core.identity.sessions.service import Place
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.kernel.actor import Actor
from bursar.settings import Settings, Stage
from tests.core.identity.house import House, cheap_means

MANY = 10_000_000
"""A rate limit that no test reaches."""

BASE = "http://127.0.0.1:8417"


@dataclass
class Whole:
    """The application and the ways in.

    Attributes:
        app: As wiring makes it.
        db: Its database.
        org: The organisation of everybody but the stranger.
        ways: Headers by who asks: ``anonymous``, each role, ``key`` (without the scope in question), ``stranger``.
        key: An API key with every right, for tools.
        owner: The owner, as an actor.
    """

    app: FastAPI
    db: Database
    org: UUID
    ways: dict[str, dict[str, str]]
    key: str
    owner: Actor


@asynccontextmanager
async def whole(url: str, home: Path, **overrides: Any) -> AsyncIterator[Whole]:
    """Open the house on the database at ``url`` and put people into it."""
    facts: dict[str, Any] = {
        "stage": Stage.TEST,
        "home": home,
        "database_url": url,
        "base_url": BASE,
        "local_owner": False,
        "worker_inside": False,
        "secret": "a secret that is only good enough for tests",
        "anonymous_per_minute": MANY,
        "key_per_minute": MANY,
    }
    settings = Settings(**(facts | overrides))
    async with wiring.open_house(settings) as house:
        identities = House(house.db, cheap_means(url=BASE))
        org, elsewhere = await identities.organisation("Engines"), await identities.organisation("Elsewhere")
        ways: dict[str, dict[str, str]] = {"anonymous": {}}
        people = {role: await identities.member(org, role, password=None) for role in ROLES}
        people["stranger"] = await identities.member(elsewhere, "owner", password=None)
        for name, actor in people.items():
            ways[name] = {"cookie": f"bursar={await _session(house.db, actor)}"}
        owner = people["owner"]
        await _seed(house, owner, home)
        ways["key"] = {"authorization": f"Bearer {await _key(house.db, owner, ['report:read'])}"}
        every = await _key(house.db, owner, sorted(ROLES["owner"]))
        yield Whole(wiring.app(house), house.db, org, ways, every, owner)


STATEMENT = """OFXHEADER:100
DATA:OFXSGML
VERSION:102
SECURITY:NONE
ENCODING:USASCII
CHARSET:1252
COMPRESSION:NONE
OLDFILEUID:NONE
NEWFILEUID:NONE

<OFX><BANKMSGSRSV1><STMTTRNRS><STMTRS><CURDEF>EUR<BANKACCTFROM><BANKID>1<ACCTID>77<ACCTTYPE>CHECKING</BANKACCTFROM>
<BANKTRANLIST><DTSTART>20260101<DTEND>20260131
<STMTTRN><TRNTYPE>DEBIT<DTPOSTED>20260105<TRNAMT>-12.50<FITID>a1<NAME>Hosting</STMTTRN>
</BANKTRANLIST><LEDGERBAL><BALAMT>87.50<DTASOF>20260131</LEDGERBAL></STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>
"""


async def _seed(house: wiring.House, owner: Actor, home: Path) -> None:
    """Give the organisation something of its own: one imported statement."""
    path = home / "statement.ofx"
    path.write_text(STATEMENT, encoding="ascii")
    batches = [batch async for batch in house.importer.import_paths(owner, [path], clock=utc_now)]
    assert len(batches) == 1


async def _session(db: Database, actor: Actor) -> str:
    async with db.writing(actor) as tx:
        opened = await sessions.open_session(
            tx, actor, remember=False, place=Place("203.0.113.9", "test"), fresh=True, now=utc_now()
        )
    return opened.token


async def _key(db: Database, actor: Actor, scopes: list[str]) -> str:
    async with db.writing(actor) as tx:
        _, text = await keys.make(tx, actor, name="test", scopes=scopes, networks=(), days=30, now=utc_now())
    return text


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation of an OpenAPI document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation
