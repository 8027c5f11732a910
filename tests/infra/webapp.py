"""A small application on the real edge and the real database, for tests of the edge."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import httpx2
import sqlalchemy as sa
from fastapi import FastAPI, File, Request, UploadFile
from pydantic import Field

from bursar.core.operations.tables import objective
from bursar.infra.db import Database, new_id
from bursar.infra.metrics import Metrics
from bursar.infra.web import (
    EVENT_STREAM,
    PUBLIC,
    SIGNED_IN,
    As,
    Event,
    In,
    LastEventId,
    Listed,
    Match,
    MoneyIn,
    MoneyOut,
    Out,
    Page,
    Router,
    TheDb,
    WebSettings,
    create_app,
    event_stream,
    router,
)
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotFound, NotSignedIn

ORG = UUID("00000000-0000-7000-8000-000000000001")
ELSEWHERE = UUID("00000000-0000-7000-8000-000000000002")

PEOPLE = {
    "reader": Actor(ORG, "person:reader", frozenset({"thing:read"})),
    "writer": Actor(ORG, "person:writer", frozenset({"thing:read", "thing:write"})),
    "stranger": Actor(ELSEWHERE, "person:stranger", frozenset({"thing:read", "thing:write"})),
}


async def authenticate(
    db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
) -> Actor:
    """Take the bearer text, or the cookie's value, for the name of a person."""
    name = (authorization or "").removeprefix("Bearer ") or (cookie or "").removeprefix("who=")
    if name not in PEOPLE:
        raise NotSignedIn
    return PEOPLE[name]


class ThingIn(In):
    name: str
    price: MoneyIn | None = None
    size: Annotated[int, Field(strict=True, ge=0, le=10)] = 1
    more: dict[str, Any] = Field(default_factory=dict)


class ThingOut(Out):
    id: str
    name: str
    price: MoneyOut | None = None


class Effects:
    """What handlers did, and the switches tests set."""

    def __init__(self) -> None:
        self.runs = 0
        self.pause_s = 0.0
        self.crash = False
        self.crash_after_write = False
        self.version = 1


def things(effects: Effects) -> Router:  # noqa: C901, PLR0915  a test application in one place
    r = router("things", tag="Things")

    @r.get("/v1/things", right="thing:read")
    async def list_things(db: TheDb, actor: As, page: Page) -> Listed[ThingOut]:
        """List the things by name."""
        async with db.reading(actor) as tx:
            chosen = sa.select(objective.c.name, objective.c.kind).where(objective.c.kind == "thing")
            rows = await tx.all(page.of(chosen, objective.c.name, newest_first=False))
        return page.listed(rows, key=lambda row: (row.name,), out=lambda row: ThingOut(id=row.name, name=row.name))

    @r.post("/v1/things", right="thing:write", status_code=201, refusals=[Conflict])
    async def make_thing(body: ThingIn, db: TheDb, actor: As) -> ThingOut:
        """Make a thing."""
        effects.runs += 1
        if effects.crash:
            message = "the secret is hunter2"
            raise RuntimeError(message)
        made = str(new_id())
        async with db.writing(actor) as tx:
            row = {"name": made, "kind": "thing", "budget": 1, "unit": "s", "share": 1, "about": body.name}
            await tx.run(sa.insert(objective).values(row))
            if effects.pause_s:
                await asyncio.sleep(effects.pause_s)
        if effects.crash_after_write:
            raise Conflict("not now")
        price = MoneyOut.of(body.price.money()) if body.price else None
        return ThingOut(id=made, name=body.name, price=price)

    @r.post("/v1/things/paid", right="thing:write", status_code=201, once="must")
    async def pay_thing(body: ThingIn, actor: As) -> ThingOut:
        """Pay for a thing; needs a key."""
        effects.runs += 1
        return ThingOut(id=actor.name, name=body.name)

    @r.get("/v1/things/{key}", right="thing:read")
    async def read_thing(key: str, match: Match) -> ThingOut:
        """Read one thing."""
        if key == "none":
            raise NotFound("thing", key)
        match.tag(effects.version)
        return ThingOut(id=key, name=key)

    @r.put("/v1/things/{key}", right="thing:write", edited=True)
    async def change_thing(key: str, body: ThingIn, match: Match) -> ThingOut:
        """Change one thing."""
        match.must(effects.version)
        effects.version += 1
        match.tag(effects.version)
        return ThingOut(id=key, name=body.name)

    @r.get("/v1/who", right=SIGNED_IN)
    async def who(actor: As) -> dict[str, str]:
        """Tell who asks."""
        return {"name": actor.name, "request": actor.request_id}

    @r.get("/v1/echo", right="thing:read")
    async def echo(request: Request, actor: As, word: str = "none") -> dict[str, str]:
        """Tell the path, taking the request itself."""
        return {"path": request.url.path, "word": word, "name": actor.name}

    @r.get("/v1/open", right=PUBLIC)
    async def anyone() -> dict[str, bool]:
        """Answer anyone."""
        return {"ok": True}

    @r.post("/v1/enter", right=PUBLIC, limit="log-in")
    async def enter(body: ThingIn) -> dict[str, bool]:
        """Stand for a log-in."""
        return {"ok": True}

    @r.post("/v1/files", right="thing:write", body_bytes_max=200_000)
    async def upload(file: Annotated[UploadFile, File()]) -> dict[str, int]:
        """Take a file."""
        return {"bytes": len(await file.read())}

    @r.get("/v1/events", right="thing:read", stream=True, responses=EVENT_STREAM)
    async def events(last: LastEventId) -> Any:
        """Stream three events after the last one seen."""

        async def source() -> AsyncIterator[Event]:
            for number in range(int(last or 0) + 1, 4):
                yield Event(str(number), {"number": number}, name="tick")
                await asyncio.sleep(0.05)

        return event_stream(source(), heartbeat_s=0.02)

    @r.get("/v1/number", right="thing:read")
    async def number(db: TheDb, actor: As, value: int) -> dict[str, int]:
        """Ask the database for a number, which may not fit."""
        async with db.reading(actor) as tx:
            return {
                "value": int(
                    await tx.scalar(sa.text("select cast(cast(:value as text) as bigint)"), {"value": str(value)})
                )
            }

    return r


SETTINGS = WebSettings(version="1", base_url="http://bursar.test", cursor_key=b"k" * 32)
"""With the limits of the product."""


def small_app(db: Database, effects: Effects | None = None, settings: WebSettings = SETTINGS, **more: Any) -> FastAPI:
    """Return the application."""
    more.setdefault("metrics", Metrics())
    return create_app(settings, db, [things(effects or Effects())], authenticate, **more)


@asynccontextmanager
async def client_of(app: FastAPI, who: str | None = None, **more: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of ``app`` without a network."""
    headers = {"authorization": f"Bearer {who}"} if who else {}
    transport = httpx2.ASGITransport(
        app=app, raise_app_exceptions=False, client=(more.pop("address", "198.51.100.7"), 123)
    )
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://bursar.test", headers=headers, **more
    ) as client:
        yield client


Make = Callable[..., FastAPI]
