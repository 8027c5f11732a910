"""Opinions by content."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)

opinion = tenant_table(
    "bank_opinion",
    sa.Column("content", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("call", sa.Uuid),
    sa.Column("place", sa.Integer, nullable=False, server_default="0"),
    sa.Column("model", sa.Text, nullable=False, server_default=""),
    sa.Column("taxonomy", sa.Text, nullable=False, server_default=""),
    sa.Column("categories", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("category", sa.Text),
    sa.Column("alternatives", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("why", sa.Text, nullable=False, server_default=""),
    sa.Column("rows", pg.ARRAY(sa.Uuid), nullable=False),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("asked_at", INSTANT, nullable=False),
    sa.Column("answered_at", INSTANT),
    sa.CheckConstraint("state in ('asked', 'disputed', 'known', 'failed')", name="bank_opinion_state_check"),
    sa.CheckConstraint("(state = 'asked') = (call is not null)", name="bank_opinion_call_check"),
    sa.CheckConstraint("failures >= 0 and place >= 0", name="bank_opinion_counts_check"),
    sa.Index("bank_opinion_call", "org", "call"),
    sa.Index("bank_opinion_state", "org", "state", "asked_at"),
)
"""``asked`` is on its way in ``call`` at ``place``; ``disputed`` waits for the dear model; ``failed`` may be asked again. ``rows``
are answered anew when it comes; ``categories`` is what the numbers of the question on its way mean, kept at place 0."""
