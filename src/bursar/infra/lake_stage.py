"""Staging: one streaming pass that splits a connector's lines into monthly zstd Parquet files, with control totals.

Runs in the parser's child process. Nothing here is visible to readers: :mod:`bursar.infra.lake` moves the files into the
lake and lists them in the manifest inside one transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from bursar.kernel.errors import Problem
from bursar.kernel.lines import REFUSED, LineSchema, Parsed
from bursar.kernel.period import DAY_MAX, DAY_MIN

PROBLEMS_MAX = 10_000
"""Most refused rows listed one by one; the rest is counted."""

ROW_GROUP_ROWS = 65_536
"""Rows buffered per month while staging; larger groups cost memory, smaller ones query time."""

AMOUNT_MAX = 10**15
"""Largest absolute amount of a row, major units of any currency; sums of such amounts are still exact."""

_MONTH = "_month"
_BAD = "_bad"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one staged file holds of one source account: days ``[start, end]`` seen, and rows."""

    scope: str
    start: date
    end: date
    rows: int


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One Parquet file of one month, not yet in the lake."""

    path: str
    month: date
    rows: int
    size: int
    coverage: tuple[Coverage, ...]


@dataclass(frozen=True, slots=True)
class Staged:
    """Everything staged from one document.

    ``totals`` maps currency to the exact sum of the schema's amount column over readable rows; ``rows_refused`` counts
    rows that became problems; ``problems`` lists at most :data:`PROBLEMS_MAX` of them.
    """

    files: tuple[StagedFile, ...]
    totals: dict[str, Decimal]
    rows: int
    rows_refused: int
    problems: tuple[Problem, ...]
    start: date | None
    end: date | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {
            **asdict(self),
            "totals": {currency: str(total) for currency, total in self.totals.items()},
            "start": self.start and self.start.isoformat(),
            "end": self.end and self.end.isoformat(),
            "files": [
                asdict(file)
                | {"month": file.month.isoformat()}
                | {
                    "coverage": [
                        asdict(c) | {"start": c.start.isoformat(), "end": c.end.isoformat()} for c in file.coverage
                    ]
                }
                for file in self.files
            ],
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Staged":
        """Read what :meth:`to_json` wrote."""
        day = date.fromisoformat
        return cls(
            files=tuple(
                StagedFile(
                    path=file["path"],
                    month=day(file["month"]),
                    rows=file["rows"],
                    size=file["size"],
                    coverage=tuple(
                        Coverage(c["scope"], day(c["start"]), day(c["end"]), c["rows"]) for c in file["coverage"]
                    ),
                )
                for file in raw["files"]
            ),
            totals={currency: Decimal(total) for currency, total in raw["totals"].items()},
            rows=raw["rows"],
            rows_refused=raw["rows_refused"],
            problems=tuple(Problem(**problem) for problem in raw["problems"]),
            start=day(raw["start"]) if raw["start"] else None,
            end=day(raw["end"]) if raw["end"] else None,
        )


def scope_of(schema: LineSchema) -> pl.Expr:
    """Return the expression that names the source account of a row, its columns joined by ``/``."""
    if not schema.scope:
        return pl.lit("")
    return pl.concat_str([pl.col(name).fill_null("") for name in schema.scope], separator="/")


def month_of(schema: LineSchema) -> pl.Expr:
    """Return the expression of the first day of the month a row is filed under."""
    day = pl.col(schema.day).cast(pl.Date)
    if schema.billing_month:
        day = pl.coalesce(pl.col(schema.billing_month).cast(pl.Date), day)
    return day.dt.truncate("1mo")


def impossible(schema: LineSchema) -> pl.Expr:
    """Return why a row that could be read cannot be kept, in the form of a connector's refusal; null where it can.

    Whatever sums or draws lines later may rely on it: days are of our time, amounts of this world, currencies codes.
    """
    day = pl.col(schema.day).cast(pl.Date)
    ours = day.is_between(DAY_MIN, DAY_MAX) & month_of(schema).is_between(DAY_MIN, DAY_MAX)
    years = f"{DAY_MIN.year} to {DAY_MAX.year}"
    said = [pl.when(~ours).then(pl.format(f"{schema.day}|the day {{}} is not of {years}|Correct the date.", day))]
    if "currency" in schema.columns:
        code = pl.col("currency")
        fix = "Write the three letters of ISO 4217, such as EUR."
        shown = pl.format(f"currency|{{}} is no currency code|{fix}", code.str.head(20))
        said.append(pl.when(~code.str.contains("^[A-Z]{3}$")).then(shown))
    if schema.amount:
        amount = pl.col(schema.amount)
        fix = "Check the unit and the decimal sign."
        shown = pl.format(f"{schema.amount}|{{}} is beyond {AMOUNT_MAX:.0e}|{fix}", amount.cast(pl.String()))
        said.append(pl.when(amount.abs() > AMOUNT_MAX).then(shown))
    return pl.coalesce(said)


def stage(parsed: Parsed, folder: Path) -> Staged:
    """Write the readable lines of ``parsed`` under ``folder``, one file or more per month.

    Args:
        parsed: What a connector returned; its lazy frame is run once, in streaming.
        folder: An empty folder; made when absent.

    Returns:
        The files with rows, coverage and exact totals per currency.
    """
    folder.mkdir(parents=True, exist_ok=True)
    schema = parsed.schema
    has_refused = REFUSED in parsed.lines.collect_schema().names()
    refused = pl.coalesce(pl.col(REFUSED), impossible(schema)) if has_refused else impossible(schema)
    bad = refused.is_not_null()
    lines = parsed.lines.with_columns(
        refused.alias(REFUSED), pl.when(bad).then(None).otherwise(month_of(schema)).alias(_MONTH), bad.alias(_BAD)
    )
    lines.sink_parquet(
        pl.PartitionBy(folder, key=[_BAD, _MONTH], include_key=False, approximate_bytes_per_file=4 * 1024**3),
        compression="zstd",
        compression_level=1,
        row_group_size=ROW_GROUP_ROWS,
        maintain_order=True,
        mkdir=True,
        engine="streaming",
    )
    good: list[Path] = []
    broken: list[Path] = []
    for path in sorted(folder.rglob("*.parquet")):
        (broken if f"{_BAD}=true" in path.parts else good).append(path)
    files = [_described(path, schema) for path in good]
    totals = _totals(good, schema)
    problems, rows_refused = _refused(broken)
    starts = [c.start for file in files for c in file.coverage]
    ends = [c.end for file in files for c in file.coverage]
    return Staged(
        files=tuple(files),
        totals=totals,
        rows=sum(file.rows for file in files),
        rows_refused=rows_refused,
        problems=tuple(problems),
        start=min(starts, default=None),
        end=max(ends, default=None),
    )


def _month_in(path: Path) -> date:
    for part in path.parts:
        if part.startswith(f"{_MONTH}="):
            return date.fromisoformat(part.removeprefix(f"{_MONTH}=")[:10])
    message = f"{path} was staged without a month"
    raise AssertionError(message)


def coverage_of(paths: Sequence[Path], schema: LineSchema) -> tuple[Coverage, ...]:
    """Return rows and days seen per source account; for bills the days are those of usage where there is any."""
    day = pl.col(schema.day).cast(pl.Date)
    usage = day.filter(pl.col("charge_category") == "Usage") if "charge_category" in schema.columns else day
    seen = (
        pl.scan_parquet(list(paths), hive_partitioning=False)
        .group_by(scope_of(schema).alias("scope"))
        .agg(
            pl.coalesce(usage.min(), day.min()).alias("start"),
            pl.coalesce(usage.max(), day.max()).alias("end"),
            pl.len().alias("rows"),
        )
        .sort("scope")
        .collect(engine="streaming")
    )
    return tuple(Coverage(*row) for row in seen.iter_rows())


def _described(path: Path, schema: LineSchema) -> StagedFile:
    coverage = coverage_of([path], schema)
    return StagedFile(
        path=str(path),
        month=_month_in(path),
        rows=sum(c.rows for c in coverage),
        size=path.stat().st_size,
        coverage=coverage,
    )


def _totals(paths: Sequence[Path], schema: LineSchema) -> dict[str, Decimal]:
    if not paths or not schema.amount:
        return {}
    sums = (
        pl.scan_parquet(list(paths), hive_partitioning=False)
        .group_by("currency")
        .agg(pl.col(schema.amount).sum())
        .sort("currency")
        .collect(engine="streaming")
    )
    return dict(sums.iter_rows())


def _refused(paths: Iterable[Path]) -> tuple[list[Problem], int]:
    found: list[Problem] = []
    count = 0
    for path in paths:
        rows = pl.scan_parquet(path, hive_partitioning=False).select("row", REFUSED)
        count += rows.select(pl.len()).collect().item()
        for row, text in rows.head(PROBLEMS_MAX - len(found)).collect().iter_rows():
            column, what, fix = [*text.split("|", 2), "", ""][:3]
            found.append(Problem(what=what, fix=fix, row=row, column=column))
    return found, count
