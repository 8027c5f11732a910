"""ETag and If-Match: nobody overwrites what they have not seen.

A GET of an edited resource calls :meth:`Matching.tag`; its PUT, PATCH or DELETE is declared with ``edited=True``, so that
a request without ``If-Match`` is refused (428), and calls :meth:`Matching.must` with the row's present version (412).
"""

import hashlib
import re
from typing import Annotated

from bursar.infra.web_context import Exchange, Given
from bursar.infra.web_problems import PreconditionMissing
from bursar.kernel.errors import Invalid, Stale


def etag(version: object) -> str:
    """Return the strong entity tag of ``version`` (a row version, an instant, a hash): quoted, 22 characters inside."""
    return '"' + hashlib.sha256(str(version).encode()).hexdigest()[:22] + '"'


def listed(header: str, tag: str) -> bool:
    """Tell whether ``tag`` is among the entity tags of an If-Match or If-None-Match ``header`` (weak ones compare too)."""
    return header.strip() == "*" or tag in {each.strip().removeprefix("W/") for each in header.split(",")}


IF_MATCH = r'^(\*|(W/)?"[!#-~]{0,100}"(, ?(W/)?"[!#-~]{0,100}"){0,9})$'
"""Form of an If-Match header: ``*`` or up to ten entity tags."""


def check_if_match(header: str | None) -> None:
    """Refuse a missing or malformed If-Match header.

    Raises:
        PreconditionMissing: There is none.
        Invalid: It holds no entity tags.
    """
    if header is None:
        raise PreconditionMissing
    if not re.fullmatch(IF_MATCH, header):
        raise Invalid(
            "If-Match holds no entity tag.", fix="Send the ETag header of the version you read, quotes included."
        )


class Matching:
    """The conditional headers of one request."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def must(self, version: object) -> None:
        """Refuse unless the caller has seen ``version``.

        Raises:
            PreconditionMissing: There is no If-Match header.
            Stale: The resource changed since the caller read it.
        """
        header = self._exchange.if_match
        if header is None:
            raise PreconditionMissing
        if header.startswith("W/") or not listed(header, etag(version)):
            raise Stale

    def tag(self, version: object) -> None:
        """Send ``version`` as the ETag of the reply."""
        self._exchange.reply_headers.append((b"etag", etag(version).encode()))


Match = Annotated[Matching, Given(Matching)]
"""Handler parameter: the conditional headers of the request."""
