"""Tags that lie in columns of their own, put together as one JSON object per line."""

from collections.abc import Mapping, Sequence

import polars as pl

from bursar.connectors.bills.columns import as_text, quoted
from bursar.connectors.bills.source import Source


def tags_as_json(source: Source, prefixes: Sequence[str]) -> pl.Expr:
    """Return one JSON object from the columns whose name begins with one of ``prefixes``; empty tags are left out.

    The key is the rest of the column name after the first prefix that fits.
    """
    named: dict[str, str] = {}
    for column in source.types:
        fitting = next((prefix for prefix in prefixes if column.lower().startswith(prefix.lower())), None)
        if fitting is not None and len(column) > len(fitting):
            named[column] = column[len(fitting) :]
    if not named:
        return pl.lit(None, dtype=pl.String())
    columns = [as_text(name, source.types[name]).alias(name) for name in named]
    return pl.struct(columns).map_batches(
        lambda rows: _tag_objects(rows, named), return_dtype=pl.String(), is_elementwise=True
    )


def _tag_objects(rows: pl.Series, named: Mapping[str, str]) -> pl.Series:
    """Build the JSON objects of a batch from the tag columns that have any value in it."""
    import orjson

    table = rows.struct.unnest()
    used = [name for name in named if table[name].null_count() < len(rows)]
    if not used:
        return pl.Series(rows.name, [None], dtype=pl.String()).new_from_index(0, len(rows))
    pairs = [
        pl.when(pl.col(name).is_not_null()).then(
            pl.concat_str(pl.lit(orjson.dumps(named[name]).decode() + ":"), quoted(pl.col(name)))
        )
        for name in used
    ]
    joined = pl.concat_str(pairs, separator=",", ignore_nulls=True)
    whole = pl.when(joined != "").then(pl.concat_str(pl.lit("{"), joined, pl.lit("}")))
    return table.select(whole.alias(rows.name)).to_series()
