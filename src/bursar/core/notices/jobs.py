"""The job that makes one attempt to deliver one webhook."""

import random
import time
from uuid import UUID

from bursar.core.notices import rules, service
from bursar.core.notices.rules import Attempt
from bursar.core.notices.service import Means, Parcel
from bursar.infra.clock import utc_now
from bursar.infra.http import Caps, NoAnswer
from bursar.infra.jobs import Context, job
from bursar.kernel.errors import Refusal

CAPS = Caps(connect_s=10, read_s=rules.TOTAL_S, total_s=rules.TOTAL_S, body_bytes=64 * 1024, attempts=1)
_RNG = random.SystemRandom()


@job(service.DELIVER, attempts=10, seconds=60)
async def deliver(ctx: Context, *, org: str, delivery: str, number: int) -> None:
    """Make attempt ``number`` of a delivery.

    Safe to run twice: an attempt that is in the log is not made again. If the process dies between the receiver's answer
    and the log, the receiver gets the event again under the same ``webhook-id``: delivery is at least once.
    """
    means, actor, id_ = ctx.tool(Means), ctx.actor(org), UUID(delivery)
    async with ctx.db.writing(actor) as tx:
        parcel = await service.parcel(tx, means, id_=id_, number=number, now=utc_now())
    if parcel is None:
        return
    made = await _attempt(means, parcel)
    async with ctx.db.writing(actor) as tx:
        await service.record_attempt(tx, id_=id_, made=made, now=utc_now(), rng=_RNG)


async def _attempt(means: Means, parcel: Parcel) -> Attempt:
    at, start, status, error = utc_now(), time.perf_counter(), None, None
    try:
        reply = await means.client.request(
            "POST", parcel.url, headers=parcel.headers, content=parcel.body.encode(), caps=CAPS
        )
        status, error = reply.status, None if reply.ok else f"status {reply.status}"
    except NoAnswer as refused:
        if refused.retry_after_s:  # the host was not even asked: this job waits instead of using up an attempt
            raise
        error = str(refused)[:300]
    except Refusal as refused:
        error = str(refused)[:300]
    return Attempt(parcel.number, at, status, round((time.perf_counter() - start) * 1000), error)


JOBS = (deliver,)
