"""Small tables that stand for those of a feature, where the edge itself is tested."""

import psycopg
import sqlalchemy as sa

from bursar.infra.schema import global_grants, tenant_policy

_apart = sa.MetaData()
note = sa.Table(
    "probe_note",
    _apart,
    sa.Column("org", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("text", sa.Text),
    sa.Column("facts", sa.JSON),
)
reply = sa.Table(
    "probe_reply",
    _apart,
    sa.Column("org", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("note", sa.Uuid, nullable=False),
)

_STATEMENTS = (
    """create table probe_note (org uuid not null, id uuid not null, text text, facts json,
       constraint probe_note_pkey primary key (org, id))""",
    """create table probe_reply (org uuid not null, id uuid not null, note uuid not null,
       constraint probe_reply_pkey primary key (org, id),
       constraint probe_reply_note_fkey foreign key (org, note) references probe_note (org, id))""",
    "create table probe_log (org uuid not null, id uuid not null, text text, constraint probe_log_pkey primary key (org, id))",
    "create table probe_global (name text, constraint probe_global_pkey primary key (name))",
)


class Executor:
    """Stands in for Alembic's ``op`` on a plain connection."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def execute(self, sqltext: str) -> None:
        self.connection.execute(sqltext.encode())


def make_tables(owner_url: str) -> None:
    """Create the tables the way a migration does."""
    with psycopg.connect(plain(owner_url)) as owner:
        op = Executor(owner)
        for statement in _STATEMENTS:
            op.execute(statement)
        tenant_policy(op, "probe_note")
        tenant_policy(op, "probe_reply")
        tenant_policy(op, "probe_log", append_only=True)
        global_grants(op, "probe_global")


def plain(url: str) -> str:
    """Return the URL as libpq reads it."""
    return url.replace("+psycopg", "", 1)
