"""Problem details (RFC 9457): every refusal, invalid request and crash in one shape, never a stack trace."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import UUID

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from bursar.kernel.errors import Refusal

MEDIA_TYPE = "application/problem+json"

PROBLEMS_PAGE = "/docs/problems"
"""Path of the page that explains every code."""

FLAWS_MAX = 50
"""Most flaws listed for one invalid request."""


@dataclass(eq=False)
class InvalidRequest(Refusal):
    """The request is not valid; each flaw is listed."""


@dataclass(eq=False)
class MalformedBody(Refusal):
    """The body cannot be read: {what}."""

    status: ClassVar[int] = 400
    what: str


@dataclass(eq=False)
class MalformedAddress(Refusal):
    """The path or query holds a NUL byte."""

    status: ClassVar[int] = 400


@dataclass(eq=False)
class MalformedRequest(Refusal):
    """The request is not HTTP as this server reads it, or its head is longer than 64 KiB."""

    status: ClassVar[int] = 400


@dataclass(eq=False)
class NoSuchRoute(Refusal):
    """There is no {path} on this server; /docs lists what there is."""

    status: ClassVar[int] = 404
    path: str


@dataclass(eq=False)
class MethodNotAllowed(Refusal):
    """{method} does not work here; allowed: {allowed}."""

    status: ClassVar[int] = 405
    method: str
    allowed: str


@dataclass(eq=False)
class WrongMediaType(Refusal):
    """The body must be {wanted}."""

    status: ClassVar[int] = 415
    wanted: str


@dataclass(eq=False)
class UnknownHost(Refusal):
    """This server does not go by that name; add it to the setting `hosts` if it should."""

    status: ClassVar[int] = 421


@dataclass(eq=False)
class CrossSite(Refusal):
    """A page of another site may not do this with your session."""

    status: ClassVar[int] = 403


@dataclass(eq=False)
class PreconditionMissing(Refusal):
    """Send If-Match with the ETag you last read, so that nobody's change is overwritten unseen."""

    status: ClassVar[int] = 428


@dataclass(eq=False)
class OutOfRange(Refusal):
    """A value is outside of what can be stored."""


@dataclass(eq=False)
class Crash(Refusal):
    """Something went wrong on our side; quote the request id when you report it."""

    status: ClassVar[int] = 500


def _plain(value: object) -> object:  # noqa: PLR0911  one line a type
    """Translate a fact for JSON."""
    match value:
        case None | bool() | str() | int():
            return value
        case Decimal():
            return f"{value:f}"
        case datetime() | date():
            return value.isoformat()
        case UUID():
            return str(value)
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case Sequence() | set() | frozenset():
            return [_plain(each) for each in value]
        case _ if hasattr(value, "on_the_wire"):
            return value.on_the_wire()
        case _:
            return str(value)


def _pointer(parts: Iterable[object]) -> str:
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def flaws(error: RequestValidationError) -> list[dict[str, str]]:
    """Return what is wrong with a request, without echoing what was sent (it may be a secret)."""
    found = []
    for each in error.errors()[:FLAWS_MAX]:
        where, *rest = each["loc"]
        detail = str(each["msg"])
        if where == "body":
            found.append({"detail": detail, "pointer": _pointer(rest)})
        else:
            found.append({"detail": detail, "parameter": str(rest[0] if rest else where)})
    return found


def title_of(code: str) -> str:
    """Return the words of a problem code: the same title for every occurrence."""
    return code.replace("_", " ").capitalize()


def body_of(
    refusal: Refusal, *, request_id: str, base_url: str = "", errors: Sequence[Mapping[str, str]] = ()
) -> bytes:
    """Return the problem document of ``refusal`` as JSON bytes."""
    facts = {name: _plain(value) for name, value in refusal.facts.items()}
    document: dict[str, Any] = {
        "type": f"{base_url}{PROBLEMS_PAGE}#{refusal.code}",
        "title": title_of(refusal.code),
        "status": refusal.status,
        "detail": str(refusal),
        "instance": request_id,
        "code": refusal.code,
        "facts": facts,
        "errors": list(errors),
    }
    return orjson.dumps(document, default=str)


def refusal_of(error: BaseException) -> tuple[Refusal, Sequence[Mapping[str, str]]]:
    """Return the refusal that answers ``error`` and its flaws; :class:`Crash` for a bug."""
    if isinstance(error, Refusal):
        return error, ()
    if isinstance(error, RequestValidationError):
        first = error.errors()[0] if error.errors() else {}
        if first.get("type") == "json_invalid":
            return MalformedBody("it is not JSON"), ()
        return InvalidRequest(), flaws(error)
    if isinstance(error, HTTPException):
        return _from_framework(error), ()
    if _sqlstate(error) in _RANGE_STATES:
        return OutOfRange(), ()
    return Crash(), ()


_RANGE_STATES = frozenset({"22003", "22008", "22021", "22P05"})
"""SQLSTATE of: number out of range, instant out of range, text that is not UTF-8, untranslatable character."""


def _sqlstate(error: BaseException) -> str:
    return str(getattr(getattr(error, "orig", error), "sqlstate", "") or "")


def _from_framework(error: HTTPException) -> Refusal:
    cause = error.__cause__
    if isinstance(cause, Refusal):
        return cause
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return NoSuchRoute("such page")
        case HTTPStatus.BAD_REQUEST:
            return MalformedBody("its form is wrong")
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return MalformedBody("it has too many parts")
        case _:
            return Crash()
