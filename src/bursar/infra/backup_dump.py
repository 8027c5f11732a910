"""The database in a backup: one consistent snapshot, dumped by ``pg_dump``, counted and summed table by table.

Everything here acts as ``bursar_backup``, the one role that reads past row-level security. Checked alone, a dump made by
an ordinary role would hold no rows at all and say nothing.
"""

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bursar.infra.schema import BACKUP
from bursar.kernel.errors import Conflict, Refusal

PART_BYTES = 1024 * 1024
LOCK_KEY = 0x62736261636B7570  # "bsbackup"

_SAME_TEXT = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "row_security": "off",  # an error instead of missing rows
}
"""Settings under which a row's text is the same on every server."""


@dataclass(eq=False)
class CannotReadAll(Refusal):
    """The role bursar_backup does not see every row. As a superuser run: alter role bursar_backup bypassrls."""

    status: ClassVar[int] = 503


@dataclass(eq=False)
class DumpFailed(Refusal):
    """{program} failed: {why}"""  # noqa: D415  ends in what the program said

    status: ClassVar[int] = 503
    program: str
    why: str


@dataclass(frozen=True, slots=True)
class TableSum:
    """How many rows a table has, and a checksum of them that does not depend on their order."""

    rows: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An open, exported snapshot and what is known of the database in it."""

    id: str
    installation: str
    server: str
    revisions: tuple[str, ...]
    tables: Mapping[str, TableSum]


@contextmanager
def snapshot(url: str) -> Iterator[Snapshot]:
    """Hold one snapshot of the database open: what is summed and what is dumped are the same rows.

    Args:
        url: Of ``bursar_backup``, or of a role that may act as it.

    Raises:
        CannotReadAll: The backup role is under row-level security.
        Conflict: Another backup of this database runs.
    """
    with _connected(url) as connection:
        if not _one(connection, "select rolbypassrls or rolsuper from pg_roles where rolname = current_user"):
            raise CannotReadAll
        if not _one(connection, f"select pg_try_advisory_lock({LOCK_KEY})"):
            raise Conflict("Another backup of this database runs.")
        connection.execute("begin isolation level repeatable read read only")
        known = _one(connection, "select to_regclass('public.alembic_version')")
        yield Snapshot(
            id=_one(connection, "select pg_export_snapshot()"),
            installation=_one(
                connection, "select system_identifier || '/' || current_database() from pg_control_system()"
            ),
            server=_one(connection, "show server_version"),
            revisions=tuple(
                sorted(row[0] for row in connection.execute("select version_num from alembic_version")) if known else ()
            ),
            tables=_sums(connection),
        )


def sums(url: str) -> dict[str, TableSum]:
    """Return rows and checksum of every table, as the backup role."""
    with _connected(url) as connection:
        connection.execute("begin isolation level repeatable read read only")
        return _sums(connection)


def _sums(connection: psycopg.Connection[Any]) -> dict[str, TableSum]:
    """Sum the first 64 bits of each row's SHA-256; unlogged tables hold nothing worth keeping and are left out."""
    tables = connection.execute(
        """select relname from pg_class where relnamespace = 'public'::regnamespace
           and relkind = 'r' and relpersistence = 'p' order by relname"""
    ).fetchall()
    query = sql.SQL(
        """select count(*), coalesce(sum(
               ('x' || encode(substr(sha256(convert_to(t::text, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint::numeric), 0)
           from only public.{} t"""
    )
    found = {}
    for (name,) in tables:
        row = connection.execute(query.format(sql.Identifier(name))).fetchone()
        if row is not None:
            found[name] = TableSum(row[0], str(row[1]))
    return found


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    facts = {**_SAME_TEXT, "role": BACKUP}
    options = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in facts.items())
    with psycopg.connect(_plain(url), options=options, application_name="bursar backup", autocommit=True) as connection:
        yield connection


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def dump(url: str, snapshot_id: str, programs: Path) -> Iterator[bytes]:
    """Yield the database as ``pg_dump`` writes it (custom format), read in an exported snapshot.

    Args:
        url: As for :func:`snapshot`.
        snapshot_id: An open :class:`Snapshot`'s.
        programs: Folder of ``pg_dump``.

    Raises:
        DumpFailed: With what the program said.
    """
    where, environment = _target(url)
    command = [str(programs / "pg_dump"), "--format=custom", "--compress=4", "--no-password", f"--role={BACKUP}"]
    command += ["--no-unlogged-table-data", f"--snapshot={snapshot_id}", f"--dbname={where}"]
    with tempfile.TemporaryFile() as said, _started(command, environment, said) as process:
        if process.stdout is not None:
            while part := process.stdout.read(PART_BYTES):
                yield part
        _finish(process, said, "pg_dump")


def load(url: str, parts: Iterable[bytes], programs: Path, *, replace: bool) -> None:
    """Load a dump in one transaction.

    Args:
        url: Of the role that shall own everything.
        parts: What :func:`dump` yielded.
        programs: Folder of ``pg_restore`` and ``psql``.
        replace: Drop everything in the schema ``public`` first, in the same transaction.

    Raises:
        DumpFailed: With what a program said; the database is as it was.
    """
    where, environment = _target(url)
    as_sql = [str(programs / "pg_restore"), "--no-owner", "--file=-"]
    into = [str(programs / "psql"), "--no-psqlrc", "--quiet", "--single-transaction", "--no-password"]
    into += ["--set=ON_ERROR_STOP=1", "--output=/dev/null", f"--dbname={where}"]
    into += [f"--command={_DROP_ALL}"] if replace else []
    with (
        tempfile.TemporaryFile() as said_first,
        tempfile.TemporaryFile() as said_second,
        _started(as_sql, {}, said_first, subprocess.PIPE) as reader,
        _started([*into, "--file=-"], environment, said_second, subprocess.PIPE, subprocess.DEVNULL) as writer,
    ):
        feeder = _Feeder(reader, parts)
        feeder.start()
        try:
            taken = _pass_on(reader, writer)
            feeder.finish()
            if taken:
                _finish(reader, said_first, "pg_restore")
                _input(writer).close()
            _finish(writer, said_second, "psql")
        except BaseException:
            writer.kill()  # the mere end of its input would make it commit half a dump
            reader.kill()
            raise


class _Feeder(threading.Thread):
    """Writes a stream into a process, apart from whoever reads what it makes of it."""

    def __init__(self, process: "subprocess.Popen[bytes]", parts: Iterable[bytes]) -> None:
        super().__init__(name="backup-feeder", daemon=True)
        self.error: BaseException | None = None
        self._process = process
        self._parts = parts

    def finish(self) -> None:
        """Wait for the end; raises what reading the stream raised."""
        self.join()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        """Write all parts, then close the input; a process that ended early says itself why."""
        try:
            with _input(self._process) as sink:
                for part in self._parts:
                    sink.write(part)
        except BrokenPipeError:
            pass
        except BaseException as error:
            self.error = error
            self._process.kill()


def _pass_on(reader: "subprocess.Popen[bytes]", writer: "subprocess.Popen[bytes]") -> bool:
    """Hand everything from one process to the other; False when the other ended before it had taken all."""
    sink = _input(writer)
    while reader.stdout is not None and (part := os.read(reader.stdout.fileno(), PART_BYTES)):
        try:
            sink.write(part)
            sink.flush()
        except BrokenPipeError:
            reader.kill()
            return False
    return True


def _input(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    if process.stdin is None:
        message = "the process was started without an input"
        raise RuntimeError(message)
    return process.stdin


def occupied(url: str) -> tuple[int, int]:
    """Return how many tables the database has, and how many other programs are connected to it."""
    with psycopg.connect(_plain(url), autocommit=True) as connection:
        tables = _one(
            connection,
            """select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')""",
        )
        others = _one(
            connection,
            """select count(*) from pg_stat_activity where datname = current_database()
               and pid <> pg_backend_pid() and backend_type = 'client backend'""",
        )
    return tables, others


_DROP_ALL = """do $$ declare commands text[]; command text; begin
    select array_agg(format('drop %s if exists public.%s cascade', kind, what)) into commands from (
        select case relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
               when 'f' then 'foreign table' else 'table' end as kind, quote_ident(relname) as what, c.oid
        from pg_class c where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        union all
        select 'routine', format('%I(%s)', proname, pg_get_function_identity_arguments(p.oid)), p.oid
        from pg_proc p where pronamespace = 'public'::regnamespace
        union all
        select 'type', quote_ident(typname), t.oid from pg_type t left join pg_class c on c.oid = t.typrelid
        where typnamespace = 'public'::regnamespace and (typtype in ('e', 'd', 'r') or c.relkind = 'c')
    ) things where not exists (select from pg_depend d where d.objid = things.oid and d.deptype = 'e');
    foreach command in array coalesce(commands, '{}') loop execute command; end loop;
end $$"""


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _target(url: str) -> tuple[str, dict[str, str]]:
    """Return where to connect, and the password apart: in the environment, not in the list of processes."""
    facts = conninfo_to_dict(_plain(url))
    password = facts.pop("password", None)
    where = make_conninfo(**{name: str(value) for name, value in facts.items() if value is not None})
    return where, {"PGPASSWORD": str(password)} if password else {}


def _started(
    command: list[str],
    environment: Mapping[str, str],
    said: Any,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(  # noqa: S603  programs of our own PostgreSQL
            command, stdin=stdin, stdout=stdout, stderr=said, env=dict(environment), cwd="/", bufsize=0
        )
    except OSError as error:
        raise DumpFailed(Path(command[0]).name, f"{error.strerror}: {command[0]}") from error


def _finish(process: "subprocess.Popen[bytes]", said: Any, program: str) -> None:
    if process.wait() != 0:
        said.seek(0)
        raise DumpFailed(program, said.read().decode(errors="replace").strip()[-1000:] or f"exit {process.returncode}")
