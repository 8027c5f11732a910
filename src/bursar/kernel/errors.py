"""What can be said "no" to: refusals (raised) and problems (returned).

Every anticipated "no" derives from :class:`Refusal`; anything else that is raised is a bug::

    Refusal
    ├── Invalid         the request itself is wrong                    422
    ├── NotSignedIn     nobody is signed in                            401
    ├── NotAllowed      the actor lacks a right                        403
    ├── NotFound        no such thing in this organisation             404
    ├── Conflict        the state of things does not allow it          409
    ├── Stale           the resource changed since it was read         412
    ├── TooLarge        a named limit on size was passed               413
    ├── TooMany         a named limit on rate or count was passed      429
    └── Unavailable     something we depend on does not answer         503

The class docstring is the message; fields in braces are filled from the instance.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818  the house word is Refusal
    """The request was refused."""

    status: ClassVar[int] = 422

    @property
    def code(self) -> str:
        """The snake_case name of the class, stable for clients."""
        name = type(self).__name__
        return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))

    @property
    def facts(self) -> Mapping[str, object]:
        """The fields of this refusal, as sent to the client."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        """Return the first line of the class docstring with the facts filled in."""
        template = (type(self).__doc__ or "").strip().splitlines()[0]
        return template.format(**self.facts)


@dataclass(eq=False)
class Invalid(Refusal):
    """{what}"""  # noqa: D415  the text is a sentence

    what: str
    fix: str = ""


@dataclass(eq=False)
class NotSignedIn(Refusal):
    """Sign in first."""

    status: ClassVar[int] = 401


@dataclass(eq=False)
class NotAllowed(Refusal):
    """This needs the right {right}."""

    status: ClassVar[int] = 403
    right: str


@dataclass(eq=False)
class NotFound(Refusal):
    """There is no {what} {key} here."""

    status: ClassVar[int] = 404
    what: str
    key: str


@dataclass(eq=False)
class Conflict(Refusal):
    """{what}"""  # noqa: D415  the text is a sentence

    status: ClassVar[int] = 409
    what: str


@dataclass(eq=False)
class Stale(Refusal):
    """It changed since you read it; read it again and repeat the change."""

    status: ClassVar[int] = 412


@dataclass(eq=False)
class TooLarge(Refusal):
    """{what} is over the limit of {limit} {unit}."""

    status: ClassVar[int] = 413
    what: str
    limit: int
    unit: str


@dataclass(eq=False)
class TooMany(Refusal):
    """Too many {what}; try again in {retry_after_s} s."""

    status: ClassVar[int] = 429
    what: str
    retry_after_s: int


@dataclass(eq=False)
class Unavailable(Refusal):
    """{what} does not answer; try again later."""

    status: ClassVar[int] = 503
    what: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One rejected piece of imported data: where it was, what is wrong, what would fix it.

    ``row`` counts lines of the file from 1 (a CSV header is row 1); None when the whole file is meant.
    """

    what: str
    fix: str = ""
    file: str = ""
    row: int | None = None
    column: str = ""
