"""ETag and If-Match: nobody overwrites what they have not seen.

A GET of an edited resource calls :meth:`Matching.tag`; its PUT, PATCH or DELETE is declared with ``edited=True``, so that
a request without ``If-Match`` is refused (428), and calls :meth:`Matching.must` with the row's present version (412).
"""

import hashlib
from typing import Annotated

from fastapi import Depends, Request, Response

from bursar.infra.web_problems import PreconditionMissing
from bursar.kernel.errors import Stale


def etag(version: object) -> str:
    """Return the strong entity tag of ``version`` (a row version, an instant, a hash): quoted, 22 characters inside."""
    return '"' + hashlib.sha256(str(version).encode()).hexdigest()[:22] + '"'


def listed(header: str, tag: str) -> bool:
    """Tell whether ``tag`` is among the entity tags of an If-Match or If-None-Match ``header`` (weak ones compare too)."""
    return header.strip() == "*" or tag in {each.strip().removeprefix("W/") for each in header.split(",")}


class Matching:
    """The conditional headers of one request."""

    def __init__(self, request: Request, response: Response) -> None:
        self._header = request.headers.get("if-match")
        self._response = response

    def must(self, version: object) -> None:
        """Refuse unless the caller has seen ``version``.

        Raises:
            PreconditionMissing: There is no If-Match header.
            Stale: The resource changed since the caller read it.
        """
        if self._header is None:
            raise PreconditionMissing
        if self._header.startswith("W/") or not listed(self._header, etag(version)):
            raise Stale

    def tag(self, version: object) -> None:
        """Send ``version`` as the ETag of the reply."""
        self._response.headers["etag"] = etag(version)


def _matching(request: Request, response: Response) -> Matching:
    return Matching(request, response)


async def _dependency(request: Request, response: Response) -> Matching:
    return _matching(request, response)


Match = Annotated[Matching, Depends(_dependency)]
"""Handler parameter: the conditional headers of the request."""
