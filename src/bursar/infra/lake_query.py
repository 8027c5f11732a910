"""SQL over the lake: one sqlglot expression, run by DuckDB here or by a Spark Connect server elsewhere.

A query names datasets as tables. Each name is replaced by exactly the files that the manifest lists for the caller's
organisation inside the caller's transaction, so a query sees a batch wholly or not at all and never another organisation's
file. DuckDB may open those files and nothing else: external access is off, extensions are off, its configuration is locked.
"""

import asyncio
import atexit
import socket
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import polars as pl
from sqlglot import exp

from bursar.infra.db import Tx
from bursar.infra.lake import Lake, LakeFile, by_object, is_whole
from bursar.infra.lake_place import STAGING
from bursar.infra.lake_rows import PART
from bursar.kernel.errors import Invalid, Refusal, TooLarge, Unavailable
from bursar.kernel.lines import LineSchema

ROWS_MAX = 1_000_000
"""Most rows one query may return; an answer for people is far smaller."""

QUERY_SECONDS_MAX = 60

SPARK_PREFIX = "sc://"
SPARK_PORT = 15002
CONNECT_SECONDS_MAX = 5
"""The client would try for ten minutes; a person should know sooner that nobody is there."""

_SQL_TYPES = ((pl.Int64(), "BIGINT"), (pl.Date(), "DATE"), (pl.String(), "TEXT"))


@dataclass(eq=False)
class QueryTooSlow(Refusal):
    """The query took longer than {seconds} s; ask for a shorter period or fewer dimensions."""

    status: ClassVar[int] = 503
    seconds: int


@dataclass(eq=False)
class QueryTooBig(Refusal):
    """The query needs more than {memory_mb} MB; ask for a shorter period or fewer dimensions."""

    status: ClassVar[int] = 503
    memory_mb: int


async def query(
    lake: Lake,
    tx: Tx,
    expression: exp.Query,
    *,
    schemas: Iterable[LineSchema],
    months: Iterable[date] | None = None,
    engine: str = "duckdb",
    origin: bool = False,
) -> pl.DataFrame:
    """Run a query over datasets of the lake.

    Args:
        lake: The lake.
        tx: The transaction whose organisation and manifest count.
        expression: A SELECT in DuckDB's dialect; its tables are dataset names or its own CTEs.
        schemas: The datasets it may name.
        months: First days of the months whose files are needed; all when None. Rows still have to be filtered by day.
        engine: ``duckdb`` or ``sc://host:port`` of a Spark Connect server that can read the lake's files.
        origin: Give each dataset a text column ``origin`` with the id of the :class:`LakeFile` of a row (DuckDB only).

    Returns:
        The rows; decimals stay exact.

    Raises:
        Invalid: It is no SELECT, or a table is no dataset.
        TooLarge: More than :data:`ROWS_MAX` rows.
        QueryTooSlow: It ran longer than :data:`QUERY_SECONDS_MAX`.
        QueryTooBig: It does not fit the memory it may use.
        Unavailable: The Spark server does not answer.
    """
    known = {schema.name: schema for schema in schemas}
    tables = _tables(expression, known)
    wanted = sorted(set(months)) if months is not None else None
    listed = {name: await _listed(lake, await lake.files(tx, name, months=wanted)) for name in sorted(tables)}
    if engine.startswith(SPARK_PREFIX):
        return await asyncio.to_thread(_on_spark, engine, expression, listed, known)
    return await _on_duckdb(lake, expression, listed, known, origin=origin)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a dataset is read from: local paths of files, of packs, and which parts of the packs when not all of them."""

    files: tuple[str, ...]
    packs: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return self.files + self.packs


async def _listed(lake: Lake, files: Sequence[LakeFile]) -> _Listed:
    paths = await lake.local(files)
    single: list[str] = []
    packs: list[str] = []
    parts: list[str] = []
    whole = all(is_whole(group) for group in by_object(files))
    for group in by_object(files):
        (packs if group[0].parts else single).append(str(paths[group[0].held.name]))
        parts += [str(file.id) for file in group if group[0].parts and not whole]
    return _Listed(tuple(single), tuple(packs), tuple(parts))


def _tables(expression: exp.Query, known: Mapping[str, LineSchema]) -> set[str]:
    if not isinstance(expression, exp.Query):
        raise Invalid("only a SELECT can be asked of the lake")
    own = {cte.alias_or_name for cte in expression.find_all(exp.CTE)}
    named: set[str] = set()
    for table in expression.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or table.db:
            raise Invalid(f"{table.sql()[:60]} is not a dataset", f"Use {', '.join(sorted(known))}.")
        if table.name in own:
            continue
        if table.name not in known:
            raise Invalid(f"{table.name} is not a dataset", f"Use {', '.join(sorted(known))}.")
        named.add(table.name)
    return named


def _empty(schema: LineSchema, *, origin: bool = False) -> exp.Query:
    """Return a SELECT without rows that has the columns of ``schema``, for a dataset that holds nothing yet."""
    columns = schema.columns | ({"origin": pl.String()} if origin else {})
    nothing = [exp.alias_(exp.cast(exp.null(), _sql_type(kind)), name) for name, kind in columns.items()]
    return exp.select(*nothing).where(exp.false())


def _sql_type(kind: pl.DataType) -> exp.DataType:
    for known, name in _SQL_TYPES:
        if kind == known:
            return exp.DataType.build(name)
    return exp.DataType.build("DECIMAL(38, 15)" if kind.is_decimal() else "TIMESTAMPTZ")


def _with_sources(expression: exp.Query, sources: Mapping[str, Any]) -> exp.Query:
    """Return a copy in which each dataset is replaced by its source under the name or alias it had."""

    def replaced(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Table) and node.name in sources and isinstance(node.this, exp.Identifier):
            alias = exp.TableAlias(this=exp.to_identifier(node.alias_or_name))
            source = sources[node.name].copy()
            if isinstance(source, exp.Query):
                return exp.Subquery(this=source, alias=alias)
            return exp.Table(this=source, alias=alias)
        return node

    return expression.copy().transform(replaced)  # type: ignore[return-value]


def _from_files(listed: _Listed, *, origin: bool) -> exp.Expr:
    """Return what DuckDB reads a dataset from: files and packs, of these the lines of the parts that count."""
    files = exp.Array(expressions=[exp.Literal.string(path) for path in listed.paths])
    named = exp.PropertyEQ(this=exp.to_identifier("union_by_name"), expression=exp.true())
    source = exp.func("read_parquet", files, named)
    if not (listed.packs or origin):
        return source
    part = exp.column(PART) if listed.packs else exp.null()
    hidden = [exp.to_identifier(PART)] if listed.packs else None
    chosen = exp.select(exp.Star(except_=hidden)).from_(exp.Table(this=source))
    if origin:
        name = exp.func("parse_filename", exp.column("filename"), exp.true())
        chosen = chosen.select(exp.alias_(exp.func("coalesce", exp.cast(part.copy(), "text"), name), "origin"))
    if listed.parts:
        wanted = exp.In(this=part.copy(), expressions=[exp.Literal.string(one) for one in listed.parts])
        chosen = chosen.where(exp.or_(part.copy().is_(exp.null()), wanted))
    return chosen


async def _on_duckdb(
    lake: Lake,
    expression: exp.Query,
    listed: Mapping[str, _Listed],
    known: Mapping[str, LineSchema],
    *,
    origin: bool,
) -> pl.DataFrame:
    sources: dict[str, Any] = {
        name: _from_files(files, origin=origin) if files.paths else _empty(known[name], origin=origin)
        for name, files in listed.items()
    }
    limited = exp.select("*").from_(_with_sources(expression, sources).subquery("answer")).limit(ROWS_MAX + 1)
    allowed = sorted({path for files in listed.values() for path in files.paths})
    running = _Running()
    work = asyncio.to_thread(running.run, lake, limited.sql(dialect="duckdb"), allowed)
    try:
        rows = await asyncio.wait_for(work, QUERY_SECONDS_MAX)
    except TimeoutError as error:
        running.stop()
        raise QueryTooSlow(QUERY_SECONDS_MAX) from error
    except asyncio.CancelledError:
        running.stop()
        raise
    if len(rows) > ROWS_MAX:
        raise TooLarge("the answer", ROWS_MAX, "rows")
    return rows


class _Running:
    """One query on a connection of its own, which another thread may interrupt."""

    def __init__(self) -> None:
        self.connection: Any = None

    def stop(self) -> None:
        if self.connection is not None:
            self.connection.interrupt()

    def run(self, lake: Lake, sql: str, allowed: Sequence[str]) -> pl.DataFrame:
        import duckdb

        staging = lake.root / STAGING
        staging.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="query-", dir=staging) as spill:
            limits: dict[str, Any] = {
                "threads": lake.threads,
                "memory_limit": f"{lake.memory_mb}MiB",
                "temp_directory": spill,
            }
            self.connection = connection = duckdb.connect(config=limits)
            try:
                lock_down(connection, allowed)
                return pl.DataFrame(connection.sql(sql))
            except duckdb.OutOfMemoryException as error:
                raise QueryTooBig(lake.memory_mb) from error
            finally:
                connection.close()


def lock_down(connection: Any, allowed: Sequence[str]) -> None:
    """Confine a DuckDB connection to reading the files ``allowed``; nothing can undo it afterwards."""
    paths = exp.Array(expressions=[exp.Literal.string(path) for path in allowed]).sql(dialect="duckdb")
    for setting in (
        "TimeZone = 'UTC'",
        f"allowed_paths = {paths}",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def _spark_rows(session: Any, listed: _Listed) -> Any:
    """Return a dataset as a Spark frame: files and packs, of these the lines of the parts that count."""
    frames = [session.read.parquet(*listed.files)] if listed.files else []
    if listed.packs:
        packed = session.read.parquet(*listed.packs)
        frames.append((packed.filter(packed[PART].isin(*listed.parts)) if listed.parts else packed).drop(PART))
    return frames[0] if len(frames) == 1 else frames[0].unionByName(frames[1], allowMissingColumns=True)


_sessions: dict[str, Any] = {}
"""The session of each Spark Connect server that this process talks to."""


def spark_session(url: str) -> Any:
    """Return a session of a Spark Connect server; one that the server does not know any more is replaced.

    Raises:
        Unavailable: The extra is not installed, or the server does not answer.
    """
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname or "", address.port or SPARK_PORT), CONNECT_SECONDS_MAX):
            pass
        try:
            return _in_utc(_sessions.get(url) or _connected(url))
        except Exception:  # the server was started anew; the client has no one type for that
            return _in_utc(_connected(url))
    except Unavailable:
        raise
    except Exception as error:
        raise Unavailable(f"the Spark server at {url}") from error


def _connected(url: str) -> Any:
    """Open a session of its own: ``getOrCreate`` gives that of any other server when there is one."""
    try:
        from pyspark.sql.connect.session import SparkSession
    except ImportError as error:
        raise Unavailable("Spark (install the extra bursar[spark])") from error
    _sessions[url] = session = SparkSession.builder.remote(url).create()
    atexit.unregister(session.client._on_exit)  # noqa: SLF001  it would ask a server that is gone for ten minutes
    return session


def _in_utc(session: Any) -> Any:
    session.conf.set("spark.sql.session.timeZone", "UTC")
    return session


def _on_spark(
    url: str, expression: exp.Query, listed: Mapping[str, _Listed], known: Mapping[str, LineSchema]
) -> pl.DataFrame:
    """Run the same expression on a Spark Connect server; the datasets become temporary views over the same files."""
    session = spark_session(url)
    views: dict[str, Any] = {}
    for name, files in listed.items():
        if not files.paths:
            views[name] = _empty(known[name])
            continue
        view = f"bursar_{name}_{uuid4().hex[:12]}"
        _spark_rows(session, files).createOrReplaceTempView(view)
        views[name] = exp.to_identifier(view)
    try:
        answer = session.sql(_with_sources(expression, views).sql(dialect="spark")).limit(ROWS_MAX + 1)
        rows = pl.DataFrame(pl.from_arrow(answer.toArrow()))
    finally:
        for source in views.values():
            if isinstance(source, exp.Identifier):
                session.catalog.dropTempView(source.name)
    if len(rows) > ROWS_MAX:
        raise TooLarge("the answer", ROWS_MAX, "rows")
    return rows
