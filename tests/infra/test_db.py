"""The database edge on a real server: tenancy, commit, rollback, timeouts, COPY."""

import asyncio
import json
from collections.abc import AsyncIterator

import psycopg
import pytest
import sqlalchemy as sa

from bursar.infra import db as database_edge
from bursar.infra.db import Database, new_id
from bursar.infra.schema import global_grants, tenant_policy
from bursar.kernel.actor import Actor

_metadata = sa.MetaData()
note = sa.Table(
    "probe_note",
    _metadata,
    sa.Column("org", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("text", sa.Text),
    sa.Column("facts", sa.JSON),
)


class Executor:
    """Stands in for Alembic's ``op`` on a plain connection."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def execute(self, sqltext: str) -> None:
        self.connection.execute(sqltext.encode())


@pytest.fixture
def tables(owner_url: str) -> None:
    with psycopg.connect(owner_url.replace("+psycopg", "")) as owner:
        owner.execute(
            """create table probe_note (org uuid not null, id uuid not null, text text, facts json,
               constraint probe_note_pkey primary key (org, id))"""
        )
        owner.execute(
            """create table probe_reply (org uuid not null, id uuid not null, note uuid not null,
               constraint probe_reply_pkey primary key (org, id),
               constraint probe_reply_note_fkey foreign key (org, note) references probe_note (org, id))"""
        )
        owner.execute("create table probe_log (org uuid not null, id uuid not null, primary key (org, id))")
        owner.execute("create table probe_global (name text primary key)")
        tenant_policy(Executor(owner), "probe_note")
        tenant_policy(Executor(owner), "probe_reply")
        tenant_policy(Executor(owner), "probe_log", append_only=True)
        global_grants(Executor(owner), "probe_global")


@pytest.fixture
async def db(db: Database, tables: None) -> Database:
    return db


async def _write(db: Database, actor: Actor, text: str = "mine") -> object:
    key = new_id()
    async with db.writing(actor) as tx:
        await tx.run(sa.insert(note).values(org=actor.org, id=key, text=text))
    return key


async def test_a_row_is_seen_by_its_organisation_only(db: Database, actor: Actor, other_actor: Actor) -> None:
    await _write(db, actor)

    async with db.reading(actor) as tx:
        assert len(await tx.all("select * from probe_note limit 9")) == 1
    async with db.reading(other_actor) as tx:
        assert await tx.all("select * from probe_note limit 9") == []
    async with db.system("nothing") as tx:
        assert await tx.all("select * from probe_note limit 9") == []
