"""Tests over many rows: one value per key, a fact present for every key, sums that must be equal."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import polars as pl

from bursar.parts.cloud.focus_validation.rules.batch import NO_VALUE, Batch, Column, Mask, Memory
from bursar.parts.cloud.focus_validation.rules.checks import prefixes
from bursar.parts.cloud.focus_validation.rules.logic import TRUE, Logic

MERGE_ROWS = 250_000
"""Pairs collected before they are reduced to distinct ones again."""

MIX = np.uint64(0x9E3779B97F4A7C15)
"""Odd constant that spreads combined hashes (the golden ratio times 2**64)."""

CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class OneValue:
    """Every key has one value at most (``needed``: exactly one) in the rows where ``where`` holds.

    ``presence`` asks instead that the value is either always there or never, for one key; ``fold`` compares the key
    without regard to upper and lower case.
    """

    key: tuple[str, ...]
    value: str
    where: Logic = TRUE
    needed: bool = False
    presence: bool = False
    fold: bool = False

    @property
    def columns(self) -> frozenset[str]:
        """The columns looked at."""
        return frozenset({*self.key, self.value})


@dataclass(frozen=True, slots=True)
class Followed:
    """Every key of the rows where ``first`` holds occurs in a row where ``then`` holds."""

    key: str
    first: Logic
    then: Logic

    @property
    def columns(self) -> frozenset[str]:
        """The columns looked at."""
        return frozenset({self.key})


@dataclass(frozen=True, slots=True)
class EqualSums:
    """For every key, ``left`` summed where ``left_where`` holds is ``right`` summed where ``right_where`` holds.

    A key for which ``unless`` holds in any row, or which has no row on one side, is left out.
    """

    key: tuple[str, ...]
    left: str
    left_where: Logic
    right: str
    right_where: Logic
    unless: Logic

    @property
    def columns(self) -> frozenset[str]:
        """The columns looked at."""
        return frozenset({*self.key, self.left, self.right})


@dataclass(frozen=True, slots=True)
class TagPrefixes:
    """The prefixes of tag keys (what stands before the first colon or slash) make sense over the whole file.

    With ``one_scheme``: not every key has the same one prefix. Without: no two prefixes differ in upper and lower case
    only, as when a user's tag imitates a reserved prefix.
    """

    column: str
    one_scheme: bool

    @property
    def columns(self) -> frozenset[str]:
        """The columns looked at."""
        return frozenset({self.column})


Group = OneValue | Followed | EqualSums | TagPrefixes


def _key(batch: Batch, names: Sequence[str]) -> pl.Series:
    if len(names) == 1:
        return batch.column(names[0]).hash
    parts = [batch.column(name).hash.to_numpy() for name in names]
    whole = parts[0].copy()
    for part in parts[1:]:
        whole = (whole ^ (whole >> np.uint64(29))) * MIX ^ part
    whole[np.logical_or.reduce([part == NO_VALUE for part in parts])] = NO_VALUE
    return pl.Series(whole)


def _chosen(batch: Batch, mask: Mask, frame: pl.DataFrame) -> pl.DataFrame:
    frame = pl.DataFrame([*frame.get_columns(), batch.rows.alias("row")])
    if mask is False:
        return frame.clear()
    return frame if mask is True else frame.filter(mask)


@dataclass
class Pairs:
    """Collects distinct (key, value) pairs with the first row of each."""

    rule: OneValue
    parts: list[pl.DataFrame] = field(default_factory=list)

    def add(self, batch: Batch) -> None:
        """Take the rows of a batch."""
        mask = batch.mask(self.rule.where)
        value = batch.column(self.rule.value)
        if mask is False or (value.null is True and not (self.rule.needed or self.rule.presence)):
            return
        key = self._folded(batch) if self.rule.fold else _key(batch, self.rule.key)
        made = _presence(value.null, batch.height) if self.rule.presence else value.hash
        frame = _chosen(batch, mask, pl.DataFrame({"key": key, "value": made})).filter(pl.col("key") != NO_VALUE)
        if not (self.rule.needed or self.rule.presence):
            frame = frame.filter(pl.col("value") != NO_VALUE)
        self.parts.append(frame.unique(["key", "value"], keep="first"))
        if sum(part.height for part in self.parts) > MERGE_ROWS + 2 * self.parts[0].height:
            self.parts = [self._merged()]

    def _folded(self, batch: Batch) -> pl.Series:
        column = batch.column(self.rule.key[0])
        lower = column.series.str.to_lowercase() if not column.few else None
        if lower is not None:
            return Column(lower, Memory()).hash
        hashes = pl.Series([value.lower() for value in column.coded[0]], dtype=pl.String).hash().to_list()
        return pl.Series(np.array([*hashes, NO_VALUE], dtype=np.uint64)[column.codes])

    def _merged(self) -> pl.DataFrame:
        return pl.concat(self.parts).group_by("key", "value").agg(pl.col("row").min())

    def result(self, most: int) -> tuple[int, list[int]]:
        """Return how many keys break the rule, and a row of each of the first ``most``."""
        if not self.parts:
            return 0, []
        presence = pl.lit(self.rule.presence)
        groups = (
            self._merged()
            .group_by("key")
            .agg(
                pl.col("value").filter((pl.col("value") != NO_VALUE) | presence).n_unique().alias("values"),
                pl.col("row").max().alias("row"),
            )
        )
        wrong = groups.filter(pl.col("values") != 1 if self.rule.needed else pl.col("values") > 1)
        return wrong.height, wrong["row"].sort().head(most).to_list()


def _presence(null: Mask, height: int) -> pl.Series:
    if isinstance(null, bool):
        return pl.repeat(int(null), height, dtype=pl.UInt64, eager=True)
    return null.cast(pl.UInt64)


@dataclass
class Following:
    """Collects the keys of both sides of a :class:`Followed`."""

    rule: Followed
    first: list[pl.DataFrame] = field(default_factory=list)
    then: list[pl.DataFrame] = field(default_factory=list)

    def add(self, batch: Batch) -> None:
        """Take the rows of a batch."""
        key = pl.DataFrame({"key": batch.column(self.rule.key).hash})
        for logic, into in ((self.rule.first, self.first), (self.rule.then, self.then)):
            found = _chosen(batch, batch.mask(logic), key).filter(pl.col("key") != NO_VALUE)
            if found.height:
                into.append(found.unique("key", keep="first"))

    def result(self, most: int) -> tuple[int, list[int]]:
        """Return how many keys lack their counterpart, and the row of each of the first ``most``."""
        if not self.first:
            return 0, []
        wanted = pl.concat(self.first).group_by("key").agg(pl.col("row").min())
        if self.then:
            wanted = wanted.join(pl.concat(self.then).select("key").unique(), on="key", how="anti")
        return wanted.height, wanted["row"].sort().head(most).to_list()


@dataclass
class Sums:
    """Adds exact decimals per key for an :class:`EqualSums`."""

    rule: EqualSums
    sums: dict[object, tuple[Decimal, Decimal, int, int, bool, int]] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Take the rows of a batch."""
        left, right = batch.mask(self.rule.left_where), batch.mask(self.rule.right_where)
        if left is False and right is False:
            return
        exact = pl.Decimal(38, 15)
        frame = pl.DataFrame(
            {
                "key": _key(batch, self.rule.key),
                "l": batch.column(self.rule.left).series.cast(exact, strict=False),
                "r": batch.column(self.rule.right).series.cast(exact, strict=False),
            }
        ).with_columns(
            on_left=_as_series(left, batch.height),
            on_right=_as_series(right, batch.height),
            skip=_as_series(batch.mask(self.rule.unless), batch.height),
            row=batch.rows,
        )
        frame = frame.filter((pl.col("key") != NO_VALUE) & (pl.col("on_left") | pl.col("on_right")))
        summed = frame.group_by("key").agg(
            pl.col("l").filter("on_left").sum().alias("l"),
            pl.col("r").filter("on_right").sum().alias("r"),
            pl.col("on_left").sum(),
            pl.col("on_right").sum(),
            pl.col("skip").any(),
            pl.col("row").min(),
        )
        for key, one, other, lefts, rights, skip, row in summed.iter_rows():
            old = self.sums.get(key, (Decimal(0), Decimal(0), 0, 0, False, row))
            self.sums[key] = (
                old[0] + one,
                old[1] + other,
                old[2] + lefts,
                old[3] + rights,
                old[4] or skip,
                min(old[5], row),
            )

    def result(self, most: int) -> tuple[int, list[int]]:
        """Return how many keys have unequal sums, and the first row of each of the first ``most``."""
        wrong = [
            row
            for left, right, lefts, rights, skip, row in self.sums.values()
            if lefts and rights and not skip and abs(left - right) > CENT
        ]
        return len(wrong), sorted(wrong)[:most]

    @property
    def decided(self) -> bool:
        """Whether some key could be compared."""
        return any(lefts and rights and not skip for _, _, lefts, rights, skip, _ in self.sums.values())


def _as_series(mask: Mask, height: int) -> pl.Series:
    return pl.repeat(mask, height, dtype=pl.Boolean, eager=True) if isinstance(mask, bool) else mask


@dataclass
class Prefixes:
    """Collects the prefixes of tag keys, each with the first row it was seen in."""

    rule: TagPrefixes
    rows: dict[str, int] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Take the rows of a batch."""
        column = batch.column(self.rule.column)
        if column.null is True:
            return
        if frozenset[str]().union(*map(prefixes, column.texts)) <= self.rows.keys():
            return
        for row, text in zip(batch.rows, column.series, strict=True):
            for prefix in prefixes(text) if text is not None else ():
                self.rows.setdefault(prefix, row)

    def result(self, most: int) -> tuple[int, list[int]]:
        """Return how many prefixes break the rule, and the first rows with them."""
        if self.rule.one_scheme:
            wrong = list(self.rows.values()) if len(self.rows) == 1 and "" not in self.rows else []
        else:
            first: dict[str, str] = {}
            wrong = [row for prefix, row in self.rows.items() if first.setdefault(prefix.casefold(), prefix) != prefix]
        return len(wrong), sorted(wrong)[:most]


Collector = Pairs | Following | Sums | Prefixes


def collector(group: Group) -> Collector:
    """Return what collects the rows for ``group``."""
    if isinstance(group, OneValue):
        return Pairs(group)
    if isinstance(group, Followed):
        return Following(group)
    return Sums(group) if isinstance(group, EqualSums) else Prefixes(group)
