"""Kept models by version, parts of forecasts that are under way, and the calendar of the organisation."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)

version = tenant_table(
    "model_version",
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("place", sa.SmallInteger),
    sa.Column("trained_at", INSTANT, nullable=False),
    sa.Column("card", pg.JSONB, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("artefact", sa.LargeBinary),
    sa.UniqueConstraint("org", "name", "place", name="model_version_place_key"),
    sa.CheckConstraint("place in (0, 1)", name="model_version_place_check"),
    sa.CheckConstraint("place is null or artefact is not null", name="model_version_artefact_check"),
)
"""One training; ``place`` 0 serves, 1 is the one before it; the artefact of any other but the newest is forgotten."""

part = tenant_table(
    "forecast_part",
    sa.Column("work", sa.CHAR(64), primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("made_at", INSTANT, nullable=False),
)
"""What came of one part of a panel whose other parts are under way; known by the hash of what went in."""
