"""The words of the generator: streams of daily usage, bank entries, and the truths planted in them."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from bursar.kernel.period import add_months

Floats = NDArray[np.float64]

ROWS_LISTED_MAX = 400
"""How many row numbers a truth lists per file; the total is always stated."""

DAYS_A_YEAR = 365


@dataclass(frozen=True, slots=True)
class Span:
    """The days the sample covers: ``months`` whole months up to and including ``end``, a last day of a month."""

    end: date
    months: int

    @property
    def start(self) -> date:
        """The first day covered."""
        return add_months(self.end, 1 - self.months)

    @property
    def days(self) -> int:
        """The number of days covered."""
        return (self.end - self.start).days + 1

    def day(self, index: int) -> date:
        """Return the day at ``index`` from the start."""
        return self.start + timedelta(days=index)

    def index(self, day: date) -> int:
        """Return the index of ``day``; negative before the start."""
        return (day - self.start).days

    def month(self, back: int) -> date:
        """Return the first day of the month that lies ``back`` months before the last one (0 is the last)."""
        return add_months(self.end, -back)

    def all_months(self) -> list[date]:
        """Return the first day of every month, in order."""
        return [add_months(self.start, index) for index in range(self.months)]

    def weekend(self) -> NDArray[np.bool_]:
        """Return, per day, whether it is a Saturday or Sunday; shape (days,)."""
        return (np.arange(self.days) + self.start.weekday()) % 7 >= 5


def rng(seed: int, name: str) -> np.random.Generator:
    """Return a generator that depends on ``seed`` and ``name`` only, so that adding a stream moves no other one."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def hex_id(seed: int, name: str, digits: int) -> str:
    """Return a stable invented identifier of ``digits`` hexadecimal digits."""
    return hashlib.sha256(f"id/{seed}/{name}".encode()).hexdigest()[:digits]


def guid(seed: int, name: str) -> str:
    """Return a stable invented identifier in the form of a GUID."""
    text = hex_id(seed, name, 32)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def quantity(value: float) -> Decimal:
    """Round a generated usage quantity to six places, exactly."""
    return Decimal(f"{value:.6f}")


@dataclass(frozen=True, slots=True)
class Mark:
    """Says that the rows of a stream from ``start`` to ``end`` (both included) belong to the truth ``truth``."""

    truth: str
    start: date
    end: date


@dataclass(frozen=True, slots=True)
class Stream:
    """Daily usage of one resource and meter.

    Attributes:
        name: Unique within its vendor; also seeds its noise.
        usage: Shape (days,): quantity per day; NaN where the vendor writes no row.
        price: Price of one unit, in the bill's currency.
        fields: What the vendor's writer needs besides (product, usage type, region, account …).
        tags: Tags of the resource.
        marks: Truths planted in it.
    """

    name: str
    usage: Floats
    price: Decimal
    fields: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()

    def truths(self, day: date) -> tuple[str, ...]:
        """Return the truths that the row of ``day`` belongs to."""
        return tuple(mark.truth for mark in self.marks if mark.start <= day <= mark.end)


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement on a bank account, from its holder's side.

    ``text`` is the remittance information, ``code`` the kind of movement (``transfer``, ``debit``, ``card``, ``fee``).
    """

    day: date
    amount: Decimal
    name: str
    text: str
    account: str = ""
    reference: str = ""
    code: str = "transfer"
    truths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a truth shows: line numbers of a file, counted from 1 (of the decompressed text)."""

    file: str
    rows: tuple[int, ...]
    rows_total: int


@dataclass(frozen=True, slots=True)
class Planted:
    """One thing that is wrong, or worth knowing, by construction.

    Attributes:
        id: Stable id, such as ``C07``.
        kind: What it is, such as ``idle_address``.
        subjects: Names it appears under in the data; the first is the main one.
        start: First day on which it can be seen.
        end: Last day on which it can be seen, or on which it will happen.
        worth: What acting on it is worth per year (or once, unless ``recurring``); zero where it is a warning.
        currency: Currency of ``worth``.
        recurring: Whether ``worth`` comes back each year.
        what: One sentence for people.
        where: The rows.
    """

    id: str
    kind: str
    subjects: tuple[str, ...]
    start: date
    end: date
    worth: Decimal
    currency: str
    recurring: bool
    what: str
    where: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleFile:
    """One file written: path relative to the folder, format, data rows, exact control total of one currency."""

    path: str
    format: str
    rows: int
    total: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Truth:
    """What was written and what is true about it.

    Attributes:
        planted: What a good review finds.
        known: What is also true and follows from the estate or from something planted: a finding about it is no false
            alarm, and missing it is no miss.
    """

    company: str
    seed: int
    start: date
    end: date
    files: tuple[SampleFile, ...]
    planted: tuple[Planted, ...]
    known: tuple[Planted, ...] = ()


@dataclass
class Notebook:
    """Collects, while files are written, which of their rows belong to which truth."""

    files: list[SampleFile] = field(default_factory=list)
    planted: list[Planted] = field(default_factory=list)
    known: list[Planted] = field(default_factory=list)
    rows: dict[str, dict[str, list[int]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def plant(
        self,
        id_: str,
        kind: str,
        subjects: Iterable[str],
        period: tuple[date, date],
        worth: tuple[Decimal, str],
        what: str,
        *,
        recurring: bool = True,
    ) -> None:
        """Note a planted truth; its rows follow by :meth:`seen`."""
        amount = worth[0].quantize(Decimal("0.01"))
        self.planted.append(
            Planted(id_, kind, tuple(subjects), period[0], period[1], amount, worth[1], recurring, what)
        )

    def explain(self, kind: str, subjects: Iterable[str], period: tuple[date, date], what: str) -> None:
        """Note something that is also true, without worth of its own."""
        id_ = f"K{len(self.known) + 1:02d}"
        self.known.append(Planted(id_, kind, tuple(subjects), *period, Decimal(0), "EUR", recurring=False, what=what))

    def seen(self, truths: Iterable[str], file: str, row: int) -> None:
        """Note that line ``row`` of ``file`` belongs to ``truths``."""
        for truth in truths:
            self.rows[truth][file].append(row)

    def places(self, truth: str) -> tuple[Place, ...]:
        """Return where ``truth`` shows, file by file."""
        return tuple(
            Place(file, tuple(sorted(rows)[-ROWS_LISTED_MAX:]), len(rows))
            for file, rows in sorted(self.rows[truth].items())
        )
