"""Whole-column readers: text to exact decimals, instants and days, and the verdict on rows that could not be read.

Each reader tries the plain form on the whole column at once and looks again only at what failed, so the common case costs
one pass. A value that still cannot be read becomes null here and a refusal in :meth:`Lines.finish`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from bursar.connectors.bills.source import EXTRA, Source
from bursar.kernel.lines import DECIMAL, INSTANT, REFUSED, LineSchema

BLANK_COLUMNS = 3
"""A CSV row without any amount, any date and anything in its first columns is a blank line, not a charge."""

TEXT_SHOWN_MAX = 40
"""How much of an unreadable value a problem quotes."""

YEAR_MIN = 1990
"""No bill is older."""

_GROUPED = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"
_COMMA = r"^[+-]?\d{1,3}(\.?\d{3})*,\d+$"

_DAY_FORMS = ("%Y-%m-%d", "%m/%d/%Y", "%m/%d/%y", "%d.%m.%Y", "%Y%m%d", "%Y/%m/%d")
_ZONED_FORMS = ("%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%:z", "%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%:z")
_ISO_FORMS = (
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S.000Z",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%.fZ",
    "%Y-%m-%dT%H:%MZ",
    "%Y-%m-%dT%H:%M:%S",
)
_FORMS = (
    *_ISO_FORMS,
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y-%m-%d %H:%M:%S%.f UTC",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    *_DAY_FORMS,
    *_ZONED_FORMS,
)
"""Ways providers write an instant or a day; of the ambiguous ones the American, which Azure uses."""


def read_decimal(column: pl.Series, *, comma: bool = False) -> pl.Series:
    """Return exact decimals; ``$10,000.00``, ``(12.50)`` and spaces are understood, anything else becomes null.

    Args:
        column: Text.
        comma: Whether a lone comma is the decimal point (files delimited by semicolons).
    """
    plain = column.cast(DECIMAL, strict=False)
    if plain.null_count() == column.null_count():
        return plain
    left = plain.is_null() & column.is_not_null()
    text = column.filter(left).str.replace_all(r"[\s\u00a0$€£¥]", "").str.replace(r"^\((.+)\)$", "-${1}")
    if comma:
        grouped = text.str.contains(_COMMA)
        text = text.zip_with(~grouped.fill_null(value=False), text.str.replace_all(".", "", literal=True))
        text = text.str.replace(",", ".", literal=True)
    else:
        grouped = text.str.contains(_GROUPED).fill_null(value=False)
        text = text.str.replace_all(",", "", literal=True).zip_with(grouped, text)
    return plain.scatter(left.arg_true(), text.cast(DECIMAL, strict=False))


class InstantReader:
    """Reads instants in UTC; a text without a zone is taken as UTC, a day as its midnight.

    The form that read the last batch is tried first on the whole of the next one; only what does not fit is looked at again.
    """

    def __init__(self) -> None:
        self.likely = _FORMS[0]

    def __call__(self, column: pl.Series) -> pl.Series:
        """Return instants; what no form fits becomes null."""
        result = _instants(column, self.likely)
        for form in _FORMS:
            if result.null_count() == column.null_count():
                break
            left = result.is_null() & column.is_not_null()
            read = _instants(column.filter(left), form)
            if read.null_count() < len(read):
                self.likely = form
                result = result.scatter(left.arg_true(), read)
        return result


def _instants(column: pl.Series, form: str) -> pl.Series:
    if form in _ZONED_FORMS:
        return column.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC")
    if form in _DAY_FORMS:
        days = column.str.to_date(form, strict=False)
        naive = _after_the_floor(days.cast(pl.Datetime("us")))
    else:
        naive = column.str.to_datetime(form, strict=False, time_unit="us")
        naive = _after_the_floor(naive) if form.startswith("%m") else naive
    return naive.dt.replace_time_zone("UTC")


def _after_the_floor(instants: pl.Series) -> pl.Series:
    """Drop years such as 21, which are two digits read by a form that wants four."""
    early = (instants.dt.year() < YEAR_MIN).fill_null(value=False)
    return instants.scatter(early.arg_true(), None) if early.any() else instants


def read_day(column: pl.Series) -> pl.Series:
    """Return days; of an instant its day in UTC."""
    plain = column.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    if plain.null_count() == column.null_count():
        return plain
    left = plain.is_null() & column.is_not_null()
    return plain.scatter(left.arg_true(), InstantReader()(column.filter(left)).dt.date())


def by_unique(expression: pl.Expr, choose: Callable[[str], str | None]) -> pl.Expr:
    """Map a text column of few distinct values: ``choose`` is called once per distinct value of a batch; null stays null.

    The engine's own ``replace_strict`` would hold the whole column in memory: it looks at all of it before it gives any.
    """
    known: dict[str, str | None] = {}

    def mapped(column: pl.Series) -> pl.Series:
        if not len(column):
            return column
        if column.null_count() == 0 and (column == column[0]).all():
            only = column[0]
            if only not in known:
                known[only] = choose(only)
            return pl.Series(column.name, [known[only]], dtype=pl.String()).new_from_index(0, len(column))
        table = {value: choose(value) for value in column.unique().drop_nulls().to_list()}
        if not table:
            return column
        return column.replace_strict(list(table), list(table.values()), default=None, return_dtype=pl.String())

    return expression.map_batches(mapped, return_dtype=pl.String(), is_elementwise=True)


@dataclass(frozen=True, slots=True)
class _Check:
    target: str
    label: str
    what: str
    fix: str


Reader = Callable[[pl.Series], pl.Series]


@dataclass
class Lines:
    """Collects one expression per column of a schema over an opened source, then builds the lazy lines.

    ``plain`` remembers the targets that are one text column: as long as nothing else is put in their place, the usual form
    is read by the engine itself, and the reader is called only for batches in which something did not fit.
    """

    source: Source
    schema: LineSchema
    found: dict[str, pl.Expr] = field(default_factory=dict)
    raw: dict[str, pl.Expr] = field(default_factory=dict)
    checks: list[_Check] = field(default_factory=list)
    plain: dict[str, tuple[pl.Expr, Reader, pl.Expr]] = field(default_factory=dict)

    def raw_text(self, *names: str) -> pl.Expr | None:
        """Return the first non-empty of the columns ``names`` as text, or None when none exists."""
        parts = [as_text(name, self.source.types[name]) for name in self.source.find(*names)]
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else pl.coalesce(parts)

    def text(self, target: str, *names: str) -> None:
        """Take ``target`` from the first non-empty of the columns ``names``."""
        if (expression := self.raw_text(*names)) is not None:
            self.found[target] = expression

    def put(self, target: str, expression: pl.Expr) -> None:
        """Take ``target`` from any expression over raw columns."""
        self.found[target] = expression

    def decimal(self, *names: str) -> pl.Expr | None:
        """Return the first of the columns ``names`` that has a value as exact decimals, or None."""
        columns = self.source.find(*names)
        if not columns:
            return None
        parts = [self._one_decimal(name) for name in columns]
        return parts[0] if len(parts) == 1 else pl.coalesce(parts)

    def _one_decimal(self, name: str) -> pl.Expr:
        kind = self.source.types[name]
        if kind.is_decimal() or kind.is_integer():
            return pl.col(name).cast(DECIMAL, strict=False)
        return as_text(name, kind).map_batches(self._decimals, return_dtype=DECIMAL, is_elementwise=True)

    def _decimals(self, column: pl.Series) -> pl.Series:
        return read_decimal(column, comma=self.source.separator == ";")

    def money(self, target: str, *names: str) -> None:
        """Take ``target`` from the first column of ``names`` with a value; what is not a number refuses the row."""
        columns = self.source.find(*names)
        expression = self.decimal(*names)
        if expression is None:
            return
        self.found[target] = expression
        self._remember(target, columns, self._decimals, pl.col(columns[0]).cast(DECIMAL, strict=False))
        self._check(target, columns, "is not a decimal number", "Write it like 1234.56, with at most 23 digits before.")

    def instant(self, target: str, *names: str) -> None:
        """Take ``target`` from the first column of ``names`` with a value, as an instant in UTC."""
        columns = self.source.find(*names)
        if not columns:
            return
        reader = InstantReader()
        parts = [_temporal(name, self.source.types[name], reader, INSTANT) for name in columns]
        self.found[target] = parts[0] if len(parts) == 1 else pl.coalesce(parts)
        form = self.source.form_of(columns[0], _ISO_FORMS)
        if form:
            reader.likely = form
            usual = pl.col(columns[0]).str.to_datetime(form, strict=False, time_unit="us")
            self._remember(target, columns, reader, usual.dt.replace_time_zone("UTC"))
        self._check(target, columns, "is not a date and time", "Write it like 2026-01-31T00:00:00Z.")

    def day(self, target: str, *names: str) -> None:
        """Take ``target`` from the first column of ``names`` with a value, as a day."""
        columns = self.source.find(*names)
        if not columns:
            return
        parts = [_temporal(name, self.source.types[name], read_day, pl.Date()) for name in columns]
        self.found[target] = parts[0] if len(parts) == 1 else pl.coalesce(parts)
        usual = pl.col(columns[0]).str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
        self._remember(target, columns, read_day, usual)
        self._check(target, columns, "is not a date", "Write it like 2026-01-31.")

    def _remember(self, target: str, columns: Sequence[str], reader: Reader, usual: pl.Expr) -> None:
        if len(columns) == 1 and self.source.types[columns[0]] == pl.String():
            self.plain[target] = (self.found[target], reader, usual)

    def _check(self, target: str, columns: Sequence[str], what: str, fix: str) -> None:
        parts = [as_text(name, self.source.types[name]) for name in columns]
        self.raw[target] = parts[0] if len(parts) == 1 else pl.coalesce(parts)
        self.checks.append(_Check(target, columns[0], what, fix))

    def finish(self, *, labels: Mapping[str, str] | None = None) -> pl.LazyFrame:
        """Return lazy lines with exactly the schema's columns and the refusals; blank lines are left out.

        Args:
            labels: Schema column to the source's name for it, for the problems.
        """
        columns = self.schema.columns
        frame = self.source.frame
        if self.source.separator:
            used = {name for expression in self.raw.values() for name in expression.meta.root_names()}
            told = sorted({*used, *list(self.source.types)[:BLANK_COLUMNS]} & set(self.source.types))
            frame = frame.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in told))
        together = {
            name: reader
            for name, (expression, reader, _) in self.plain.items()
            if self.found[name] is expression and name in columns
        }
        picked = {"row": pl.col("_row").cast(pl.Int64())} | {
            name: self.plain[name][2] if name in together else self.found.get(name, pl.lit(None)).cast(kind)
            for name, kind in columns.items()
            if name != "row"
        }
        raw = {f"_raw_{name}": expression for name, expression in self.raw.items()}
        extra = {EXTRA: pl.col(EXTRA)} if EXTRA in self.source.types else {}
        required = sorted(self.schema.required - {"row"})
        watched = dict.fromkeys([*required, *(check.target for check in self.checks), *raw, *extra])
        settled = pl.struct(*watched).map_batches(
            lambda rows: _settle(rows, together, self.checks, required, labels or {}),
            return_dtype=pl.Struct({**{name: columns[name] for name in together}, REFUSED: pl.String()}),
            is_elementwise=True,
        )
        selected = frame.select(**picked, **raw, **extra).with_columns(settled.alias(_SETTLED))
        return selected.drop(*together).unnest(_SETTLED).select(*columns, REFUSED)


def as_text(name: str, kind: pl.DataType) -> pl.Expr:
    """Return the raw column ``name`` as text; nested values become JSON."""
    column = pl.col(name)
    if kind == pl.String():
        return column
    if isinstance(kind, pl.List) and isinstance(kind.inner, pl.Struct):
        return _map_as_json(column, kind.inner)
    if isinstance(kind, pl.Struct):
        return column.struct.json_encode()
    if isinstance(kind, pl.List) and kind.inner == pl.Null():
        return pl.lit(None, dtype=pl.String())  # every list is empty
    return column.cast(pl.String())


def _map_as_json(column: pl.Expr, entry: pl.Struct) -> pl.Expr:
    """Return a Parquet map, a list of key and value, as a JSON object; any other list as a JSON array."""
    fields = [field.name for field in entry.fields]
    if len(fields) == len(("key", "value")) and fields[0] == "key":
        key = pl.element().struct.field("key").cast(pl.String())
        value = pl.element().struct.field(fields[1]).cast(pl.String())
        pairs = pl.concat_str(quoted(key), pl.lit(":"), quoted(value))
        return pl.concat_str(pl.lit("{"), column.list.eval(pairs).list.join(",", ignore_nulls=True), pl.lit("}"))
    items = column.list.eval(pl.element().struct.json_encode()).list.join(",", ignore_nulls=True)
    return pl.concat_str(pl.lit("["), items, pl.lit("]"))


def quoted(text: pl.Expr) -> pl.Expr:
    """Return text as a JSON string; control characters become spaces."""
    safe = text.str.replace_all("\\", r"\\", literal=True).str.replace_all('"', r"\"", literal=True)
    return pl.concat_str(pl.lit('"'), safe.str.replace_all(r"[\x00-\x1f]", " "), pl.lit('"'))


def _temporal(name: str, kind: pl.DataType, read: Callable[[pl.Series], pl.Series], target: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if kind == pl.Date():
        return column if target == pl.Date() else column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if isinstance(kind, pl.Datetime):
        zoned = column.dt.convert_time_zone("UTC") if kind.time_zone else column.dt.replace_time_zone("UTC")
        return zoned.cast(INSTANT).cast(target)
    return as_text(name, kind).map_batches(read, return_dtype=target, is_elementwise=True)


_SETTLED = "_settled"


def _settle(
    rows: pl.Series,
    together: Mapping[str, Reader],
    checks: Sequence[_Check],
    required: Sequence[str],
    labels: Mapping[str, str],
) -> pl.Series:
    """Return the plain columns of a batch, read again where the usual form did not fit, and the verdict on its rows."""
    table = rows.struct.unnest()
    for name, reader in together.items():
        raw = table[f"_raw_{name}"]
        if table[name].null_count() != raw.null_count():
            table.replace_column(table.get_column_index(name), reader(raw).alias(name))
    verdict = _judge(table, checks, required, labels).alias(REFUSED)
    return pl.DataFrame([*(table[name] for name in together), verdict]).to_struct(rows.name)


def _judge(
    table: pl.DataFrame, checks: Sequence[_Check], required: Sequence[str], labels: Mapping[str, str]
) -> pl.Series:
    """Return ``column|what|fix`` for the rows that cannot be taken, null for the others."""
    verdict = pl.Series(REFUSED, [None], dtype=pl.String()).new_from_index(0, len(table))
    if EXTRA in table.columns and table[EXTRA].null_count() < len(table):
        verdict = _mark(verdict, table[EXTRA].is_not_null(), _TOO_MANY_VALUES)
    for check in checks:
        raw = table[f"_raw_{check.target}"]
        parsed = table[check.target]
        if parsed.null_count() != raw.null_count():
            bad = parsed.is_null() & raw.is_not_null() & (raw.str.strip_chars() != "") & verdict.is_null()
            shown = raw.filter(bad).str.slice(0, TEXT_SHOWN_MAX).str.replace_all("|", "/", literal=True)
            verdict = verdict.scatter(bad.arg_true(), f"{check.label}|'" + shown + f"' {check.what}|{check.fix}")
    for name in required:
        if table[name].null_count():
            text = f"{labels.get(name, name)}|is empty|Every charge needs it; export again with this column filled."
            verdict = _mark(verdict, table[name].is_null(), text)
    return verdict


_TOO_MANY_VALUES = "|the row has more values than the header has columns|Quote the value that contains the delimiter."


def _mark(verdict: pl.Series, bad: pl.Series, text: str) -> pl.Series:
    at = (bad & verdict.is_null()).arg_true()
    return verdict.scatter(at, text) if len(at) else verdict
