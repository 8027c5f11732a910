"""Trace tokens: short texts beside amounts that say, to whoever may ask, where an amount comes from.

A token is a marked figure (:mod:`bursar.infra.marks`), good for one organisation. It is no secret and gives no right: it is
resolved under the rights and the row-level security of whoever sends it. A token that was changed is refused.
"""

from dataclasses import dataclass, field
from uuid import UUID

from bursar.infra.marks import marked, unmarked
from bursar.kernel.errors import Invalid, TooLarge
from bursar.kernel.trace import AskedFigure, Figure, Pairs, read, written

PREFIX = "tr_"
TOKEN_CHARS_MAX = 24_000
"""Longest token; the longest filter in the longest alphabet fits."""

PATTERN = rf"^([Ff]?[0-9]{{1,12}}|{PREFIX}[A-Za-z0-9_-]{{1,{TOKEN_CHARS_MAX}}})$"
"""What a trace looks like: the id of a finding, or a token."""


@dataclass(frozen=True, slots=True)
class Tracer:
    """Makes and reads the tokens of one organisation.

    Attributes:
        key: Secret that marks tokens.
        org: Whose figures.
    """

    key: bytes = field(repr=False)
    org: UUID

    def token(self, figure: Figure) -> str:
        """Return the token of a figure; equal figures have equal tokens.

        Raises:
            TooLarge: What was asked is too long for a token.
        """
        token = PREFIX + marked(written(figure), key=self.key, scope=self._scope)
        if len(token) > TOKEN_CHARS_MAX:
            raise TooLarge("The question behind an amount", TOKEN_CHARS_MAX, "characters of its trace")
        return token

    def asked(self, question: str, part: str, currency: str, facts: Pairs = ()) -> str:
        """Return the token of an amount that is worked out by asking its question again."""
        return self.token(AskedFigure(question, part, currency, facts))

    def read(self, token: str) -> Figure:
        """Return what a token stands for.

        Raises:
            Invalid: It was not made here for this organisation, or was changed.
        """
        body = None
        if token.startswith(PREFIX) and len(token) <= TOKEN_CHARS_MAX:
            body = unmarked(token.removeprefix(PREFIX), key=self.key, scope=self._scope)
        if body is None:
            raise Invalid(
                f"{token[:40]!r} is not a trace token of this organisation.",
                "Use a `trace` from an answer, unchanged; F12 stands for a finding.",
            )
        return read(body)

    @property
    def _scope(self) -> str:
        return f"trace {self.org}"
