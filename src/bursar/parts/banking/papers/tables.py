"""What the files of each month say of invoices, and which files that was read from."""

import sqlalchemy as sa

from bursar.infra.db import tenant_table

paper = tenant_table(
    "bank_paper",
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("month", sa.Date, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("number", sa.Text, nullable=False),
    sa.Column("currency", sa.CHAR(3), nullable=False),
    sa.Column("total", sa.Numeric(38, 15), nullable=False),
    sa.Column("last_day", sa.Date, nullable=False),
)
"""``month`` is the lake's; what several months say of one paper adds up. ``number`` is empty where the lines of a bill name no
invoice: then the paper is all that one account is billed for a month. ``last_day`` is when it is due, or the last day it bills."""

derived = tenant_table(
    "bank_paper_month",
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("month", sa.Date, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
)
"""The visible files of the lake (their ids, hashed) that the papers of a month were read from."""
