"""Tools that change something, in two steps: a preview with a signed token, then the token."""

import json
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field

from bursar.core.findings import service
from bursar.core.findings.service import Kept
from bursar.infra.db import Tx
from bursar.infra.marks import marked, unmarked
from bursar.infra.web_models import In
from bursar.kernel.errors import Conflict, Invalid
from bursar.reports.mcp.desk import Desk, finding
from bursar.reports.mcp.inbox import Day

VALID = timedelta(minutes=10)
"""How long a proposal may be confirmed."""

SECRET_USE = "mcp proposals"  # noqa: S105  the name of a use, not a secret


class ProposeAction(In):
    """Arguments of ``propose_action``."""

    id: Annotated[str, Field(max_length=20, description="As F12")]
    action: Literal["accept", "dismiss", "snooze", "done", "reopen"]
    because: Annotated[str, Field(max_length=2000, description="Required to dismiss")] = ""
    until: Day = None
    assignee: Annotated[str, Field(max_length=200)] = ""
    due: Day = None


class ConfirmAction(In):
    """Arguments of ``confirm_action``."""

    token: Annotated[str, Field(max_length=8000)]


class _Preview(Exception):  # noqa: N818  carries the preview out of a transaction that is rolled back
    def __init__(self, before: Kept, after: Kept) -> None:
        super().__init__()
        self.before, self.after = before, after


async def propose_action(desk: Desk, asked: ProposeAction) -> dict[str, Any]:
    """Try the action in a transaction that is rolled back; return what it would do, and a token to do it."""
    now = desk.clock()
    try:
        await _tried(desk, asked, now)
    except _Preview as seen:
        preview = seen
    expires = now + VALID
    facts = {
        "org": str(desk.actor.org),
        "who": desk.actor.name,
        "asked": asked.model_dump(mode="json"),
        "changed_at": preview.before.changed_at.isoformat(),
        "expires": expires.isoformat(),
    }
    return {
        "changed": False,
        "before": finding(preview.before),
        "after": finding(preview.after),
        "confirm_token": _signed(desk.secret, facts),
        "expires": expires.isoformat(),
    }


async def _tried(desk: Desk, asked: ProposeAction, now: datetime) -> NoReturn:
    """Act and roll back by raising :class:`_Preview` with what was before and would be after."""
    async with desk.db.writing(desk.actor) as tx:
        before = await service.get(tx, desk.actor, name=asked.id)
        raise _Preview(before, await _act(tx, desk, asked, now))


async def confirm_action(desk: Desk, asked: ConfirmAction) -> dict[str, Any]:
    """Do what was proposed, unless the token is not ours or too old, or the finding changed meanwhile."""
    facts, now = _read(desk.secret, asked.token), desk.clock()
    if facts["org"] != str(desk.actor.org) or facts["who"] != desk.actor.name:
        raise Invalid("The token was made for somebody else.", "Propose the action again.")
    if now > datetime.fromisoformat(facts["expires"]):
        raise Conflict("The proposal is too old; propose the action again.")
    wanted = ProposeAction(**facts["asked"])
    async with desk.db.writing(desk.actor) as tx:
        before = await service.get(tx, desk.actor, name=wanted.id)
        if before.changed_at.isoformat() != facts["changed_at"]:
            raise Conflict(f"{wanted.id} changed since the proposal; look at it and propose again.")
        after = await _act(tx, desk, wanted, now)
    return {"changed": True, "after": finding(after), "undo": "`bursar undo` takes it back"}


async def _act(tx: Tx, desk: Desk, asked: ProposeAction, now: datetime) -> Kept:
    until: date | None = asked.until
    return await service.act(
        tx,
        desk.actor,
        name=asked.id,
        action=asked.action,
        now=now,
        because=asked.because,
        until=until,
        assignee=asked.assignee,
        due=asked.due,
    )


def _signed(secret: bytes, facts: dict[str, Any]) -> str:
    return marked(json.dumps(facts, sort_keys=True).encode(), key=secret, scope=SECRET_USE)


def _read(secret: bytes, token: str) -> dict[str, Any]:
    body = unmarked(token, key=secret, scope=SECRET_USE)
    if body is None:
        raise Invalid("The token is not one of ours.", "Use the confirm_token of propose_action, unchanged.")
    found: dict[str, Any] = json.loads(body)
    return found
