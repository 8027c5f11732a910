"""The job that forgets old jobs."""

from bursar.core.work import service
from bursar.infra.jobs import Context, job


@job("work.forget", attempts=3, seconds=300, cron="17 * * * *")
async def forget(ctx: Context) -> int:
    """Forget jobs that ended long ago; safe to run twice: what is gone is gone."""
    return await service.forget_old(ctx.db, actor_name="job:work.forget")


JOBS = (forget,)
