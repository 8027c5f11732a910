"""The nightly reading of the price catalogues."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from bursar.infra.clock import utc_now
from bursar.infra.jobs import NOBODY, Context, job
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Refusal
from bursar.parts.cloud.prices.service import Catalogue, PriceList

READER = Actor(NOBODY, "job:cloud.prices", frozenset({"cloud:refresh"}))


@dataclass(frozen=True, slots=True)
class Catalogues:
    """What is read, and where it is kept; given by wiring."""

    prices: PriceList
    read: Sequence[Catalogue]


@job("cloud.prices", attempts=3, seconds=3 * 3600, cron="41 4 * * *")
async def refresh(ctx: Context) -> dict[str, int]:
    """Read every catalogue; one that fails keeps what is known and does not stop the others.

    Safe to run twice: a reading that is the same changes nothing but the day it was seen.
    """
    given, counts = ctx.tool(Catalogues), {}
    for catalogue in given.read:
        try:
            counts[catalogue.name] = await given.prices.refresh(READER, catalogue, now=utc_now())
        except Refusal as refusal:
            structlog.get_logger("prices").warning("catalogue not read", catalogue=catalogue.name, error=str(refusal))
            counts[catalogue.name] = 0
    return counts


JOBS = (refresh,)
