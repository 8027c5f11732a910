"""The arithmetic of measuring; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, localcontext

from bursar.kernel.money import Money

DAYS_A_YEAR = 365
BLOCKS_BEFORE_MAX = 8
BLOCKS_BEFORE_MIN = 3
BLOCKS_AFTER_MIN = 4
BLOCKS_AFTER_MAX = 13
"""A saving is judged over at most this many blocks: what happens much later has other causes."""

LIKELY = 0.9
"""Quantile of either end of an 80 % interval."""

REFUND_DAYS_MAX = 90
"""A sum paid back counts when it comes within this many days."""


@dataclass(frozen=True, slots=True)
class Daily:
    """The daily amounts behind a finding, money out positive.

    Attributes:
        start: First day that facts cover.
        end: The day after the last that facts cover completely.
        amounts: Amount by day in the finding's currency; a day without an entry is zero.
        block_days: Amounts are compared in blocks of this many days: 7 for bills, whose weeks repeat; 30 for payments,
            whose months do.
    """

    start: date
    end: date
    amounts: Mapping[date, Decimal]
    block_days: int = 7

    def blocks(self, start: date, end: date) -> tuple[Decimal, ...]:
        """Return the sums of whole blocks from ``start`` on that end by ``end`` and are covered."""
        last = min(end, self.end)
        count = max(0, (last - start).days // self.block_days)
        return tuple(
            sum(
                (
                    self.amounts.get(start + timedelta(days=at * self.block_days + day), Decimal(0))
                    for day in range(self.block_days)
                ),
                start=Decimal(0),
            )
            for at in range(count)
        )


@dataclass(frozen=True, slots=True)
class Level:
    """What a subject cost before a finding was accepted: sums of ``blocks`` blocks of ``block_days`` days up to ``end``."""

    end: date
    block_days: int
    blocks: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What was saved a year, with its 80 % interval, and the words for it."""

    amount: Money
    low: Money
    high: Money
    why: str


def level_at(daily: Daily, accepted: date) -> Level | None:
    """Return the level of the last blocks before ``accepted``; None when fewer than :data:`BLOCKS_BEFORE_MIN` are there.

    Days after the last complete one are left out: they would look like a fall.
    """
    end = min(accepted, daily.end)
    count = min(BLOCKS_BEFORE_MAX, (end - daily.start).days // daily.block_days)
    if count < BLOCKS_BEFORE_MIN:
        return None
    return Level(end, daily.block_days, daily.blocks(end - timedelta(days=count * daily.block_days), end))


def after(daily: Daily, done: date) -> tuple[Decimal, ...]:
    """Return the blocks after ``done`` (that day itself is neither before nor after), at most :data:`BLOCKS_AFTER_MAX`."""
    first = done + timedelta(days=1)
    return daily.blocks(first, first + timedelta(days=BLOCKS_AFTER_MAX * daily.block_days))


def verified(level: Level, later: Sequence[Decimal], currency: str) -> Verified:
    """Compare later blocks with the level: mean before minus mean after, a year.

    The interval is Welch's for the difference of two means. Its residuals are those of whole weeks (months), so that the
    pattern inside of them does not widen it and days that depend on each other do not narrow it.

    Args:
        level: The level at acceptance, at least two blocks.
        later: Blocks of the same length, at least two.
        currency: Of the amounts.

    Source:
        Welch (1947); batch means: Law, Simulation Modeling and Analysis, 9.5.3.
    """
    from scipy.special import stdtrit

    with localcontext(prec=50):
        a_year = Decimal(DAYS_A_YEAR) / level.block_days
        means = [sum(blocks, start=Decimal(0)) / len(blocks) for blocks in (level.blocks, later)]
        saved = (means[0] - means[1]) * a_year
    parts = [
        sum(float(one - mean) ** 2 for one in blocks) / (len(blocks) - 1) / len(blocks)
        for blocks, mean in zip((level.blocks, later), means, strict=True)
    ]
    room = 0.0
    if sum(parts) > 0:
        spread = [part**2 / (len(blocks) - 1) for part, blocks in zip(parts, (level.blocks, later), strict=True)]
        freedom = sum(parts) ** 2 / sum(spread)
        room = float(stdtrit(freedom, LIKELY)) * sum(parts) ** 0.5 * float(a_year)
    amount = Money.rounded(saved, currency)
    width = Money.rounded(Decimal(repr(room)), currency)
    unit = "weeks" if level.block_days == 7 else "months"
    why = (
        f"({means[0]:,.2f} in each of {len(level.blocks)} {unit} before - {means[1]:,.2f} in each of {len(later)} after)"
        f" x {DAYS_A_YEAR} / {level.block_days}"
    )
    return Verified(amount, amount - width, amount + width, why)


def refunded(daily: Daily, done: date, worth: Money) -> Verified | None:
    """Return what came back of a sum paid once; None while it may still come.

    Args:
        daily: Daily amounts; money in is negative.
        done: Day it was asked back.
        worth: What was asked back; more is not its merit.
    """
    until = done + timedelta(days=REFUND_DAYS_MAX)
    came = sum(
        (-amount for day, amount in daily.amounts.items() if done <= day < until and amount < 0), start=Decimal(0)
    )
    back = Money.rounded(min(came, worth.amount), worth.currency)
    if back.minor < worth.minor and daily.end < until:
        return None
    why = f"{back.amount:,.2f} of {worth.amount:,.2f} came back within {REFUND_DAYS_MAX} days"
    return Verified(back, back, back, why)
