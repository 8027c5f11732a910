"""Evaluates row logic over a block of rows, every test once, on distinct values where there are few of them."""

from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bursar.parts.cloud.focus_validation.rules.checks import IMPLIED_BY, JSON_TESTS, flaws, test_values
from bursar.parts.cloud.focus_validation.rules.logic import (
    All,
    AtLeast,
    Before,
    Equals,
    Is,
    Logic,
    Not,
    Null,
    Passes,
    Product,
    Same,
    SameSign,
    Some,
)

Mask = bool | pl.Series
"""One answer for the whole block, or one per row (no nulls)."""

SAMPLE_ROWS = 4096
DISTINCT_SHARE = 0.25
"""A column whose share of distinct values in a sample is higher is tested row by row."""

VALUES_REMEMBERED_MAX = 50_000
"""Distinct values remembered for each test."""

NO_VALUE = 0
"""Hash of a missing value; a text has it once in 2**64."""

RELATIVE = 1e-9
"""Rounding allowed between a product and its result; above it the places written decide."""


@dataclass
class Memory:
    """What was worked out for values seen before: blocks of one file repeat them."""

    flags: dict[str, dict[str, bool]] = field(default_factory=dict)
    hashes: dict[str, int] = field(default_factory=dict)

    def trim(self) -> None:
        """Forget the hashes when they have become too many."""
        if len(self.hashes) > VALUES_REMEMBERED_MAX:
            self.hashes.clear()


class Column:
    """One column of a block, as text; derived forms are made once, when asked for."""

    def __init__(self, series: pl.Series, memory: Memory) -> None:
        self.series = series
        self._memory = memory
        self._memory_of_hashes = memory.hashes
        self._null: Mask | None = None
        self._number: pl.Series | None = None
        self._coded: tuple[list[str], pl.Series] | None = None
        self._codes: NDArray[np.uint32] | None = None
        self._flaws: frozenset[str] | None = None
        self._strict: dict[str, bool] = {}
        self._few: bool | None = None
        self._hash: pl.Series | None = None

    @property
    def null(self) -> Mask:
        """Where the column has no value."""
        if self._null is None:
            count = self.series.null_count()
            self._null = False if count == 0 else True if count == len(self.series) else self.series.is_null()
        return self._null

    @property
    def number(self) -> pl.Series:
        """The column as floating point, null where it is no number; for comparison, never for sums of money."""
        if self._number is None:
            self._number = self.series.cast(pl.Float64, strict=False)
        return self._number

    @property
    def few(self) -> bool:
        """Whether the block has few distinct values in this column."""
        if self._few is None:
            sample = self.series.head(SAMPLE_ROWS)
            self._few = sample.n_unique() <= max(16, len(sample) * DISTINCT_SHARE)
        return self._few

    @property
    def coded(self) -> tuple[list[str], pl.Series]:
        """The distinct values (no null), and for every row the index of its value (null where it has none)."""
        if self._coded is None:
            values = self.series.drop_nulls().unique()
            self._coded = values.to_list(), self.series.cast(pl.Enum(values)).to_physical()
        return self._coded

    @property
    def codes(self) -> NDArray[np.uint32]:
        """The index of every row's value among the distinct ones; one past the last where it has none."""
        if self._codes is None:
            values, codes = self.coded
            self._codes = codes.cast(pl.UInt32).fill_null(len(values)).to_numpy()
        return self._codes

    @property
    def hash(self) -> pl.Series:
        """A 64-bit hash of every value; :data:`NO_VALUE` where there is none."""
        if self._hash is None:
            if self.few:
                known = self._memory_of_hashes
                values = self.coded[0]
                fresh = [value for value in values if value not in known]
                if fresh:
                    known.update(zip(fresh, pl.Series(fresh, dtype=pl.String).hash().to_list(), strict=True))
                spread = np.array([*(known[value] for value in values), NO_VALUE], dtype=np.uint64)[self.codes]
                self._hash = pl.Series(spread)
            else:
                made = self.series.hash()
                self._hash = made if self.null is False else _blank(made, self.null)
        return self._hash

    @property
    def texts(self) -> list[str]:
        """The values, each at least once; distinct where there are few."""
        return self.coded[0] if self.few else self.series.drop_nulls().to_list()

    @property
    def flaws(self) -> frozenset[str]:
        """What is wrong with any of the values, read as key-value texts."""
        if self._flaws is None:
            self._flaws = frozenset[str]().union(*map(flaws, self.texts))
        return self._flaws

    def strict(self, name: str) -> bool:
        """Tell whether every value passes the named test."""
        if name not in self._strict:
            self._strict[name] = self.passes(name) is True
        return self._strict[name]

    def passes(self, name: str) -> Mask:
        """Return where the value passes the named test; a missing value passes."""
        if self.null is True or (name in JSON_TESTS and name not in self.flaws):
            return True
        stricter = IMPLIED_BY.get(name)
        if stricter and self.strict(stricter):
            return True
        if self.few:
            return self._spread(
                remembered(self._memory.flags.setdefault(name, {}), name, self.coded[0]), when_null=True
            )
        return settled(test_values(name, self.series).fill_null(value=True))

    def among(self, texts: frozenset[str]) -> Mask:
        """Return where the value is one of ``texts``; a missing value is not."""
        if self.null is True:
            return False
        if self.few:
            return self._spread([value in texts for value in self.coded[0]], when_null=False)
        return settled(self.series.is_in(list(texts)).fill_null(value=False))

    def _spread(self, flags: list[bool], *, when_null: bool) -> Mask:
        """Turn flags of the distinct values into a mask of the rows."""
        if all(flags) and (when_null or self.null is False):
            return True
        if not any(flags) and (not when_null or self.null is False):
            return False
        return pl.Series(np.array([*flags, when_null])[self.codes])


def remembered(known: dict[str, bool], name: str, values: list[str]) -> list[bool]:
    """Return whether each value passes the named test; only values not seen lately are tested."""
    fresh = [value for value in values if value not in known]
    if fresh:
        if len(known) + len(fresh) > VALUES_REMEMBERED_MAX:
            known.clear()
            fresh = values
        known.update(zip(fresh, test_values(name, pl.Series(fresh, dtype=pl.String)).to_list(), strict=True))
    return [known[value] for value in values]


def _blank(values: pl.Series, null: Mask) -> pl.Series:
    frame = pl.DataFrame({"v": values, "n": null})
    return frame.select(pl.when("n").then(pl.lit(NO_VALUE, pl.UInt64)).otherwise("v").alias("v")).to_series()


class Batch:
    """A block of rows; a column that the file does not have counts as empty."""

    def __init__(self, frame: pl.DataFrame, first_row: int, memory: Memory | None = None) -> None:
        self._memory = memory or Memory()
        self._memory.trim()
        self.height = frame.height
        self.first_row = first_row
        self._frame = frame
        self._rows: pl.Series | None = None
        self._columns: dict[str, Column] = {}
        self._masks: dict[Logic, Mask] = {}

    @property
    def rows(self) -> pl.Series:
        """The number of every row."""
        if self._rows is None:
            self._rows = pl.Series(np.arange(self.first_row, self.first_row + self.height))
        return self._rows

    def column(self, name: str) -> Column:
        """Return the column called ``name``."""
        if name not in self._columns:
            there = name in self._frame.columns
            series = self._frame[name] if there else pl.repeat(None, self.height, dtype=pl.String, eager=True)
            self._columns[name] = Column(series, self._memory)
        return self._columns[name]

    def mask(self, logic: Logic) -> Mask:
        """Return where ``logic`` holds; every distinct piece is decided once per block."""
        if logic not in self._masks:
            self._masks[logic] = self._decide(logic)
        return self._masks[logic]

    def _decide(self, logic: Logic) -> Mask:  # noqa: PLR0911  one answer per kind
        match logic:
            case All(items):
                return self._all(items)
            case Some(items):
                return negated(self._all(tuple(Not(item) for item in items)))
            case Not(item):
                return negated(self.mask(item))
            case Null(column):
                return self.column(column).null
            case Is(column, texts):
                return self.column(column).among(texts)
            case Passes(column, name):
                return self.column(column).passes(name)
            case _:
                return self._compare(logic)

    def _all(self, items: tuple[Logic, ...]) -> Mask:
        masks: list[pl.Series] = []
        for item in items:
            mask = self.mask(item)
            if mask is False:
                return False
            if mask is not True:
                masks.append(mask)
        return reduce(lambda left, right: left & right, masks) if masks else True

    def _compare(self, logic: Logic) -> Mask:
        match logic:
            case Equals(column, number):
                return settled((self.column(column).number == number).fill_null(value=False))
            case AtLeast(column, number):
                return settled((self.column(column).number >= number).fill_null(value=True))
            case Same(left, right, numeric):
                return self._same(left, right, numeric=numeric)
            case Before(left, right, or_equal):
                first, second = self.column(left).series, self.column(right).series
                return settled(((first <= second) if or_equal else (first < second)).fill_null(value=True))
            case SameSign(left, right):
                return settled(
                    (self.column(left).number.sign() == self.column(right).number.sign()).fill_null(value=True)
                )
            case Product():
                return self._product(logic)
        message = f"{logic} is no row logic"
        raise TypeError(message)

    def _same(self, left: str, right: str, *, numeric: bool) -> Mask:
        one, other = self.column(left), self.column(right)
        if one.null is True or other.null is True:
            return self._all((Null(left), Null(right))) if one.null is not other.null else True
        if numeric:
            return settled(_close(one.number, other.number).fill_null(value=True))
        return settled(one.series.eq_missing(other.series))

    def _product(self, logic: Product) -> Mask:
        made = self.column(logic.left).number * self.column(logic.right).number
        result = self.column(logic.result)
        close = _close(made, result.number).fill_null(value=True)
        if close.all():
            return True
        places = result.series.str.extract(r"\.(\d+)$", 1).str.len_chars().fill_null(0)
        written = ~result.series.str.contains("[eE]").fill_null(value=False)
        within = (made - result.number).abs() <= (-places.cast(pl.Float64) * 2.302585092994046).exp() * 0.5000001
        return settled(close | (within & written).fill_null(value=True))


def _close(left: pl.Series, right: pl.Series) -> pl.Series:
    return (left - right).abs() <= right.abs() * RELATIVE + 1e-15


def negated(mask: Mask) -> Mask:
    """Return the opposite of a mask."""
    return (not mask) if isinstance(mask, bool) else ~mask


def settled(mask: pl.Series) -> Mask:
    """Return one answer when all rows agree."""
    if mask.all():
        return True
    return mask if mask.any() else False


def rows_where(batch: Batch, mask: Mask, most: int) -> tuple[int, list[int]]:
    """Return how many rows of the batch are in the mask, and the numbers of the first ``most`` of them."""
    if mask is False:
        return 0, []
    if mask is True:
        return batch.height, list(range(batch.first_row, batch.first_row + min(most, batch.height)))
    found = mask.arg_true()
    return len(found), [batch.first_row + int(index) for index in found.head(most)]
