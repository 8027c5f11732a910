"""Sources of series, the tree of their keys, and panels of every node; pure."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bursar.core.planning.rules.series import KEY_SEPARATOR, Dimension, coarser, covered_until, panels
from bursar.kernel.lines import BANK_LINES, COST_LINES, PAYMENT_LINES, LineSchema
from bursar.kernel.period import Grain
from bursar.kernel.series import Ints, Panel
from bursar.ml.reconcile import Tree

TOTAL = "(total)"
"""Key of the root of every source."""

TOTAL_LEVEL = "total"

LATE_DAYS_MAX = 35
"""A feed whose newest facts are older than the newest of all by more than this is over; others are waited for."""

ID_CHARS = 16


def usage_rows(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Return the rows that make cost series: usage only, at effective cost where the bill has it.

    Taxes, credits, refunds and purchases are booked on single days and would look like spikes; they are shown elsewhere.
    """
    return lines.filter(pl.col("charge_category") == "Usage").with_columns(
        pl.coalesce("sub_account_id", "billing_account_id").alias("account"),
        pl.coalesce("effective_cost", "billed_cost").alias("cost"),
        pl.coalesce(
            pl.col("resource_id").replace("", None), pl.col("sku_meter"), pl.col("sku_id"), pl.lit("(no resource)")
        ).alias("child"),
    )


def _outflow(lines: pl.LazyFrame) -> pl.LazyFrame:
    booked = lines.filter((pl.col("status") == "booked") & (pl.col("amount") < 0))
    return booked.with_columns((-pl.col("amount")).alias("amount"))


@dataclass(frozen=True, slots=True)
class Source:
    """Where series come from.

    Attributes:
        name: ``cost``, ``payment`` or ``bank``.
        part: The part of the product it belongs to, for the scoreboard.
        schema: The line schema in the lake.
        rows: The rows that count, with a column ``amount``-to-be named by ``amount``.
        amount: Column of the exact amount; money out is positive.
        levels: Names of the levels below the total, outermost first.
        dimensions: Columns of these levels.
        filters: Further columns that a budget may filter by, by name.
        feed_levels: How many of the outermost levels name an account whose facts may arrive apart from the others'.
    """

    name: str
    part: str
    schema: LineSchema
    rows: Callable[[pl.LazyFrame], pl.LazyFrame]
    amount: str
    levels: tuple[str, ...]
    dimensions: tuple[Dimension, ...]
    filters: tuple[tuple[str, Dimension], ...]
    feed_levels: int = 1

    def column(self, name: str) -> Dimension | None:
        """Return the column behind a level or filter, None when there is none of this name."""
        known = dict(zip(self.levels, self.dimensions, strict=True)) | dict(self.filters)
        return known.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that can be filtered by."""
        return (*self.levels, *(name for name, _ in self.filters))


COST = Source(
    "cost",
    "cloud",
    COST_LINES,
    usage_rows,
    "cost",
    ("provider", "account", "service"),
    (Dimension("provider"), Dimension("account", "(no account)"), Dimension("service_name", "(no service)")),
    (
        ("region", Dimension("region_id")),
        ("category", Dimension("service_category")),
        ("resource", Dimension("child")),
        ("meter", Dimension("sku_meter")),
    ),
    feed_levels=2,
)
PAYMENT = Source(
    "payment",
    "banking",
    PAYMENT_LINES,
    lambda lines: lines,
    "amount",
    ("department", "category"),
    (Dimension("department", "(no department)"), Dimension("category", "(no category)")),
    (("supplier", Dimension("supplier")),),
)
BANK = Source(
    "bank",
    "banking",
    BANK_LINES,
    _outflow,
    "amount",
    ("account", "category"),
    (Dimension("account"), Dimension("category", "(no category)")),
    (("counterparty", Dimension("counterparty_name")), ("department", Dimension("department"))),
)

SAID = {"category": "said_category", "department": "said_department"}
"""Columns of what was decided about a row, by the name of the level or filter they answer."""


def decided(source: Source) -> Source:
    """Return a source that asks for what was decided about its rows, where its names are among :data:`SAID`."""

    def said(name: str, dimension: Dimension) -> Dimension:
        return replace(dimension, column=SAID.get(name, dimension.column))

    return replace(
        source,
        dimensions=tuple(said(name, each) for name, each in zip(source.levels, source.dimensions, strict=True)),
        filters=tuple((name, said(name, each)) for name, each in source.filters),
    )


SOURCES = {source.name: source for source in (COST, PAYMENT, BANK)}
"""Every source by name."""

GRAINS: dict[str, tuple[Grain, ...]] = {
    "cost": (Grain.DAY, Grain.MONTH),
    "payment": (Grain.WEEK, Grain.MONTH),
    "bank": (Grain.WEEK, Grain.MONTH),
}
"""Calendars forecast by night: bills move daily, payments too rarely for it."""


def part_expressions(source: Source) -> list[pl.Expr]:
    """Return one text expression a level; a missing value has its name."""
    return [text_of(one) for one in source.dimensions]


def text_of(dimension: Dimension) -> pl.Expr:
    """Return the text of a dimension; missing values have their name."""
    return pl.col(dimension.column).replace("", None).fill_null(dimension.missing)


def daily_sums(source: Source, lines: pl.LazyFrame) -> pl.DataFrame:
    """Sum exactly by currency, level values and day in one grouping.

    Returns:
        Columns ``currency``, ``part0`` …, ``day``, ``amount`` (decimal) and ``feed`` (of :func:`feeds`).
    """
    parts = [one.alias(f"part{at}") for at, one in enumerate(part_expressions(source))]
    names = [f"part{at}" for at in range(len(parts))]
    batch = pl.col("batch") if "batch" in lines.collect_schema().names() else pl.lit("").alias("batch")
    by_batch = (
        source.rows(lines.with_columns(batch))
        .select("currency", *parts, pl.col(source.schema.day).cast(pl.Date).alias("day"), source.amount, "batch")
        .group_by("currency", *names, "day", "batch")
        .agg(pl.col(source.amount).sum().alias("amount"))
        .collect(engine="streaming")
    )
    sums = by_batch.group_by("currency", *names, "day").agg(pl.col("amount").sum())
    return sums.join(feeds(by_batch, names[: source.feed_levels]), on=names[: source.feed_levels], how="left")


def feeds(by_batch: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return which values arrive together: a feed is what shares files, directly or through others.

    Where a vendor's accounts come in one file, silence of one of them is silence; where each has its own file, the file
    of the silent one may be late.

    Args:
        by_batch: Columns ``names`` and ``batch``.
        names: Of the columns that name an account, the vendor first.

    Returns:
        Columns ``names`` and ``feed``: the vendor, or the vendor and its first account where it has several feeds.
    """
    seen = by_batch.select(*names, "batch").unique().sort(*names, "batch")
    accounts = seen.select(*names).unique(maintain_order=True)
    if len(names) == 1 or not seen.height:
        return accounts.with_columns(pl.col(names[0]).alias("feed"))
    account = seen.select(pl.struct(names).rank("dense") - 1).to_series().to_numpy().astype(np.int64)
    file = seen.select(pl.struct(names[0], "batch").rank("dense") - 1).to_series().to_numpy().astype(np.int64)
    size = accounts.height + int(file.max()) + 1
    edges = coo_array((np.ones(len(account)), (account, accounts.height + file)), shape=(size, size))
    group = connected_components(edges, directed=False)[1][: accounts.height]
    key = pl.concat_str(names, separator=KEY_SEPARATOR)
    several = pl.col("group").n_unique().over(names[0]) > 1
    feed = pl.when(several).then(key.first().over(names[0], "group")).otherwise(pl.col(names[0])).alias("feed")
    return accounts.with_columns(pl.Series("group", group)).select(*names, feed)


def series_id(source: str, currency: str, key: str) -> str:
    """Return the short stable id of a series, safe in a URL."""
    digest = hashlib.sha256(f"{source}\0{currency}\0{key}".encode()).hexdigest()
    return f"S{digest[:ID_CHARS]}"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Every node of one source, currency and calendar; parents come before their children.

    Attributes:
        source: Name of the source.
        panel: Shape (n,) series; all end on the same day.
        ids: Shape (n,): see :func:`series_id`.
        levels: Shape (n,).
        parent: Shape (n,): row of the parent, -1 for the total.
        last_day: The last day that is complete in the facts.
        over: Outermost values whose facts stopped long ago; they hold zeros since.
    """

    source: str
    panel: Panel
    ids: tuple[str, ...]
    levels: tuple[str, ...]
    parent: Ints
    last_day: date
    over: tuple[str, ...] = ()

    @property
    def tree(self) -> Tree:
        """The tree of the nodes."""
        return Tree.of(self.parent)

    def row(self, id_: str) -> int | None:
        """Return the row of a series, None when it is not here."""
        try:
            return self.ids.index(id_)
        except ValueError:
            return None


def complete_until(sums: pl.DataFrame, today: date) -> tuple[date, tuple[str, ...]]:
    """Return the last day that is complete in every feed that still gets facts, and the feeds that do not."""
    ends = feed_ends(sums, today)
    newest = max(ends.values())
    over = tuple(sorted(name for name, end in ends.items() if (newest - end).days > LATE_DAYS_MAX))
    return min(end for name, end in ends.items() if name not in over), over


def feed_ends(sums: pl.DataFrame, today: date) -> dict[str, date]:
    """Return the last complete day of every feed (of :func:`daily_sums`).

    A feed is known until the day before its next facts are due: a vendor that charges on the first of each month is
    known to the end of the month, one that charges daily to its newest day.
    """
    days = sums.select("feed", "day").unique().sort("feed", "day")
    spans = days.group_by("feed").agg(
        pl.col("day").max().alias("last"), pl.col("day").diff().dt.total_days().median().alias("gap")
    )
    return {
        str(name): covered_until([last + timedelta(days=max(0, round(gap or 1) - 1))], today)
        for name, last, gap in spans.iter_rows()
    }


def leaves(source: Source, sums: pl.DataFrame, *, today: date) -> dict[str, Panel]:
    """Lay the innermost series on the daily calendar, one panel per currency; each ends with its own feed.

    A feed that stopped over :data:`LATE_DAYS_MAX` days ago is over: its series hold zeros since.
    """
    if sums.is_empty():
        return {}
    names = [pl.col(f"part{at}") for at in range(len(source.levels))]
    keyed = sums.with_columns(pl.concat_str(names, separator=KEY_SEPARATOR).alias("key"))
    ends = feed_ends(sums, today)
    newest = max(ends.values())
    until = {
        str(key): newest if (newest - ends[feed]).days > LATE_DAYS_MAX else ends[feed]
        for key, feed in keyed.select("key", "feed").unique().iter_rows()
    }
    return panels(keyed.select("currency", "key", "day", "amount"), until=until)


def hierarchies(source: Source, sums: pl.DataFrame, *, grain: Grain, today: date) -> list[Hierarchy]:
    """Lay every node of the tree on the calendar, one hierarchy per currency.

    Args:
        source: Where the sums come from.
        sums: Of :func:`daily_sums`.
        grain: Day, week or month; unfinished last weeks and months are left out.
        today: Facts of yesterday and today are still being written and left out.
    """
    made = []
    for (currency,), mine in sums.partition_by("currency", as_dict=True).items():
        last_day, over = complete_until(mine, today)
        known = mine.filter(pl.col("day") <= last_day)
        if known.is_empty():
            continue
        nodes = _nodes(source, known)
        until = dict.fromkeys(nodes["key"].unique().to_list(), last_day)
        panel = panels(nodes.select("currency", "key", "day", "amount"), until=until).get(str(currency))
        if panel is not None and grain is not Grain.DAY:
            panel = _ended_alike(coarser(panel, grain))
        if panel is not None and len(panel):
            made.append(_arranged(source, panel, last_day, over))
    return sorted(made, key=lambda one: (-len(one.panel), one.panel.currency))


def _nodes(source: Source, sums: pl.DataFrame) -> pl.DataFrame:
    """Sum again for every level of the tree; the total's key is :data:`TOTAL`."""
    levels = []
    for depth in range(len(source.levels) + 1):
        parts = [pl.col(f"part{at}") for at in range(depth)]
        key = pl.concat_str(parts, separator=KEY_SEPARATOR) if parts else pl.lit(TOTAL)
        level = sums.with_columns(key.alias("key")).group_by("currency", "key", "day").agg(pl.col("amount").sum())
        levels.append(level)
    return pl.concat(levels)


def _ended_alike(panel: Panel) -> Panel | None:
    """Leave out series without a finished period; the others all end with the newest."""
    if not len(panel):
        return None
    ends = panel.ends
    kept = np.flatnonzero(ends == ends.max())
    return Panel.of(
        [panel.keys[row] for row in kept],
        panel.starts[kept],
        [panel.series(int(row)) for row in kept],
        grain=panel.grain,
        currency=panel.currency,
    )


def parts_of(key: str, depth: int) -> tuple[str, ...]:
    """Return the level values of a key; none for the total."""
    return () if key == TOTAL else tuple(key.split(KEY_SEPARATOR, depth - 1))


def parent_key(key: str, depth: int) -> str:
    """Return the key one level up; empty for the total."""
    parts = parts_of(key, depth)
    if not parts:
        return ""
    return KEY_SEPARATOR.join(parts[:-1]) if len(parts) > 1 else TOTAL


def _arranged(source: Source, panel: Panel, last_day: date, over: tuple[str, ...]) -> Hierarchy:
    depth = len(source.levels)
    depths = [len(parts_of(key, depth)) for key in panel.keys]
    order = sorted(range(len(panel)), key=lambda row: (depths[row], panel.keys[row]))
    keys = [panel.keys[row] for row in order]
    place = {key: at for at, key in enumerate(keys)}
    names = (TOTAL_LEVEL, *source.levels)
    arranged = Panel.of(
        keys, panel.starts[order], [panel.series(row) for row in order], grain=panel.grain, currency=panel.currency
    )
    end = panel.ends.max().astype("datetime64[D]").astype(object) - timedelta(days=1)
    return Hierarchy(
        source.name,
        arranged,
        tuple(series_id(source.name, panel.currency, key) for key in keys),
        tuple(names[depths[row]] for row in order),
        np.array([_parent(place, key, depth) for key in keys], dtype=np.int64),
        min(last_day, end),
        over,
    )


def _parent(place: dict[str, int], key: str, depth: int) -> int:
    """Return the row of the nearest ancestor that is long enough to be here."""
    above = parent_key(key, depth)
    while above:
        if above in place:
            return place[above]
        above = parent_key(above, depth)
    return -1


def chosen(found: Sequence[tuple[str, str]], words: str) -> list[int]:
    """Return the positions of (id, key) pairs whose key holds every word, or whose id it is; letter case is ignored."""
    wanted = words.casefold().split()
    return [at for at, (id_, key) in enumerate(found) if id_ == words or all(word in key.casefold() for word in wanted)]
