"""Row arithmetic of the lake: which rows of an older bill stay, which rows of a newer statement are new."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import polars as pl

from bursar.infra.lake_stage import Coverage, StagedFile, coverage_of, month_of, scope_of
from bursar.kernel.lines import LineSchema

PART = "_part"
"""Column of a pack that says which manifest row a line belongs to."""

_OCCURRENCE = "_occurrence"


def _window(old: Coverage, new: Coverage) -> pl.Expr:
    """Return which rows of ``old``'s scope the newer export replaces.

    All of them where it covers every day the older one covered (a month-to-date export that grew); else only the days
    both saw, so that a slice never wipes what it does not hold.
    """
    if new.start <= old.start and old.end <= new.end:
        return pl.lit(value=True)
    return pl.col("_day").is_between(new.start, new.end)


def without_replaced(
    rows: pl.LazyFrame, schema: LineSchema, old: Sequence[Coverage], new: Mapping[str, Coverage], scratch: Path
) -> StagedFile | None:
    """Write those of some rows that a newer export does not replace.

    Args:
        rows: Those of one file of the lake.
        schema: Its line schema.
        old: What the file covers.
        new: What the newer export covers of the same month, by scope.
        scratch: Folder for the result.

    Returns:
        The remaining rows as a staged file, or None when nothing remains.
    """
    replaced = pl.lit(value=False)
    for covered in old:
        if covered.scope in new:
            replaced |= (pl.col("_scope") == covered.scope) & _window(covered, new[covered.scope])
    kept = (
        rows.with_columns(scope_of(schema).alias("_scope"), pl.col(schema.day).cast(pl.Date).alias("_day"))
        .filter(~replaced)
        .drop("_scope", "_day", PART, strict=False)
    )
    return _written(kept, schema, scratch / "kept.parquet")


def _written(rows: pl.LazyFrame, schema: LineSchema, target: Path) -> StagedFile | None:
    rows.sink_parquet(target, compression="zstd", compression_level=1, engine="streaming")
    coverage = coverage_of([target], schema)
    count = sum(c.rows for c in coverage)
    if count == 0:
        target.unlink()
        return None
    month = pl.scan_parquet(target, hive_partitioning=False).select(month_of(schema).min()).collect().item()
    return StagedFile(str(target), month, count, target.stat().st_size, coverage)


def _numbered(rows: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
    """Add the occurrence number of each row among equal ones (from 1, in file order)."""
    return rows.with_columns(pl.int_range(1, pl.len() + 1).over(columns).alias(_OCCURRENCE))


def only_new(
    staged: Sequence[Path],
    existing: Sequence[tuple[pl.LazyFrame, str]],
    schema: LineSchema,
    format_name: str,
    scratch: Path,
) -> tuple[list[StagedFile], int, dict[str, Decimal]]:
    """Keep the staged rows that the lake does not hold yet.

    A row is known when the lake holds as many equal rows (all identity columns) of the same format, or a row with the
    same source id, day and amount (its text changed), or as many rows with the same coarse identity (account, day,
    amount) of another format: two formats' texts for one movement differ.

    Args:
        staged: Parquet files of one document.
        existing: Rows of the lake in the same months, with the format they came from.
        schema: The line schema; its ``identity`` is not empty.
        format_name: The format of the staged document.
        scratch: Folder for the result.

    Returns:
        New rows as staged files (one per month), the number of known rows, exact totals per currency of the new rows.
    """
    if not staged:
        return [], 0, {}
    rows = pl.scan_parquet(list(staged), hive_partitioning=False)
    identity = list(schema.identity)
    fresh = _numbered(rows, identity)
    same = [held for held, name in existing if name == format_name]
    other = [held for held, name in existing if name != format_name]
    if same:
        held = _numbered(pl.concat(same, how="diagonal_relaxed"), identity)
        keys = [*identity, _OCCURRENCE]
        fresh = fresh.join(held.select(keys), on=keys, how="anti", nulls_equal=True, maintain_order="left")
        if schema.source_id:
            known_ids = held.select(schema.source_id).filter(pl.col(schema.source_id[1]) != "")
            fresh = fresh.join(known_ids, on=list(schema.source_id), how="anti", maintain_order="left")
    if other and schema.coarse:
        coarse = list(schema.coarse)
        keys = [*coarse, _OCCURRENCE]
        held = _numbered(pl.concat(other, how="diagonal_relaxed"), coarse)
        fresh = _numbered(fresh.drop(_OCCURRENCE), coarse)
        fresh = fresh.join(held.select(keys), on=keys, how="anti", nulls_equal=True, maintain_order="left")
    new = fresh.drop(_OCCURRENCE).collect()
    read = rows.select(pl.len()).collect().item()
    files = []
    months = new.with_columns(month_of(schema).alias("_month")).partition_by("_month", include_key=False, as_dict=True)
    for number, frame in enumerate(months.values()):
        written = _written(frame.lazy(), schema, scratch / f"new-{number}.parquet")
        if written:
            files.append(written)
    totals = dict(new.group_by("currency").agg(pl.col(schema.amount).sum()).sort("currency").iter_rows())
    return files, read - new.height, totals
