"""The page of a list that a request asks for."""

from typing import Annotated

from fastapi import Depends, Query, Request

from bursar.infra.paging import CURSOR_MAX_CHARS, LIMIT_DEFAULT, LIMIT_MAX, Paging, unpack
from bursar.infra.web_context import exchange_of


async def _paging(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items on the page.")] = LIMIT_DEFAULT,
    after: Annotated[
        str | None, Query(max_length=CURSOR_MAX_CHARS, description="`next` of the page before; opaque.")
    ] = None,
) -> Paging:
    exchange = exchange_of(request.scope)
    scope = f"{exchange.template}?{exchange.actor.org if exchange.actor else ''}"
    key = exchange.house.cursor_key
    return Paging(limit, unpack(after, key, scope) if after else None, key, scope)


Page = Annotated[Paging, Depends(_paging)]
"""Handler parameter: ``?limit=&after=``."""
