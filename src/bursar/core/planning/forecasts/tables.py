"""Runs, what they predicted for each series, and what came true."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)
UNITS = pg.ARRAY(sa.BigInteger)

run = tenant_table(
    "forecast_run",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("made_at", INSTANT, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("grain", sa.Text, nullable=False),
    sa.Column("currency", sa.CHAR(3), nullable=False),
    sa.Column("horizon", sa.Integer, nullable=False),
    sa.Column("first_day", sa.Date, nullable=False),
    sa.Column("last_day", sa.Date, nullable=False),
    sa.Column("origin", sa.Date, nullable=False),
    sa.Column("series", sa.Integer, nullable=False),
    sa.Column("data_hash", sa.CHAR(64), nullable=False),
    sa.Column("code_version", sa.Text, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("baseline", sa.Text, nullable=False),
    sa.Column("windows", sa.Integer, nullable=False),
    sa.Column("coverage80", sa.Float),
    sa.Column("coverage95", sa.Float),
    sa.Column("model", sa.Text, nullable=False, server_default=""),
    sa.Column("model_version", sa.Integer),
    sa.Column("notes", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.UniqueConstraint(
        "org", "source", "grain", "currency", "horizon", "data_hash", "code_version", name="forecast_run_once"
    ),
    sa.CheckConstraint("first_day <= last_day and last_day < origin", name="forecast_run_days_check"),
    sa.Index("forecast_run_newest", "org", "source", "grain", "currency", "made_at"),
)
"""One panel forecast at one time; ``first_day`` to ``last_day`` is the training window, ``origin`` the first day forecast."""

value = tenant_table(
    "forecast_value",
    sa.Column("run", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("parent", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("leader", sa.Text, nullable=False),
    sa.Column("beats_baseline", sa.Boolean, nullable=False),
    sa.Column("cold", sa.Boolean, nullable=False),
    sa.Column("error", sa.Float),
    sa.Column("baseline_error", sa.Float),
    sa.Column("scale", sa.Float, nullable=False),
    sa.Column("mean", UNITS, nullable=False),
    sa.Column("lower80", UNITS, nullable=False),
    sa.Column("upper80", UNITS, nullable=False),
    sa.Column("lower95", UNITS, nullable=False),
    sa.Column("upper95", UNITS, nullable=False),
    sa.Column("baseline", UNITS, nullable=False),
    sa.ForeignKeyConstraint(
        ["org", "run"], ["forecast_run.org", "forecast_run.id"], name="forecast_value_run_fkey", ondelete="cascade"
    ),
)
"""What one run predicted for one series: arrays over the steps, in ten-thousandths of the currency's major unit."""

score = tenant_table(
    "forecast_score",
    sa.Column("run", sa.Uuid, primary_key=True),
    sa.Column("level", sa.Text, primary_key=True),
    sa.Column("leader", sa.Text, primary_key=True),
    sa.Column("block", sa.Integer, primary_key=True),
    sa.Column("first_step", sa.Integer, nullable=False),
    sa.Column("last_step", sa.Integer, nullable=False),
    sa.Column("periods", sa.BigInteger, nullable=False),
    sa.Column("inside80", sa.BigInteger, nullable=False),
    sa.Column("inside95", sa.BigInteger, nullable=False),
    sa.Column("actual_abs", sa.Float, nullable=False),
    sa.Column("error_abs", sa.Float, nullable=False),
    sa.Column("baseline_abs", sa.Float, nullable=False),
    sa.Column("error_scaled", sa.Float, nullable=False),
    sa.Column("baseline_scaled", sa.Float, nullable=False),
    sa.Column("scored_at", INSTANT, nullable=False),
    sa.ForeignKeyConstraint(
        ["org", "run"], ["forecast_run.org", "forecast_run.id"], name="forecast_score_run_fkey", ondelete="cascade"
    ),
    sa.CheckConstraint("inside80 <= inside95 and inside95 <= periods", name="forecast_score_inside_check"),
)
"""Sums over the scored series and periods of one run, by level, leading model and horizon block."""
