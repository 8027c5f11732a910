"""Tables of jobs next to procrastinate's own: what an organisation may see of its jobs."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

_INSTANT = sa.DateTime(timezone=True)

run = tenant_table(
    "job_run",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("job", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("enqueued_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("enqueued_by", sa.Text, nullable=False),
    sa.Column("done_at", _INSTANT),
    sa.Column("result", pg.JSONB),
    sa.UniqueConstraint("org", "job", name="job_run_org_job_key"),
)
"""One queued job of an organisation; its state is read from the queue. ``done_at`` is set in the transaction of its effect."""

event = tenant_table(
    "job_event",
    sa.Column("run", sa.Uuid, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("data", pg.JSONB, nullable=False),
    sa.ForeignKeyConstraint(
        ["org", "run"], ["job_run.org", "job_run.id"], name="job_event_org_run_fkey", ondelete="CASCADE"
    ),
)
"""What happened to a job, numbered from 1: started, progress, retry, interrupted, done, dead."""
