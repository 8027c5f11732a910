"""What commands share with people: days and amounts read, rows shown as columns or as JSON."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import click

from bursar.cli import running
from bursar.cli.findings import printable
from bursar.kernel.errors import Invalid
from bursar.kernel.money import Money, decimal_from
from bursar.kernel.period import DAY_MAX, DAY_MIN

CELL_CHARS_MAX = 60
"""Characters of one cell of a table; JSON holds all."""

Shown = Mapping[str, Any]
"""One row: name to text, number, day, instant, list or :class:`Money`."""


class _Day(click.ParamType[date]):
    """A day within the years that Bursar knows."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Read a day."""
        try:
            day = value if isinstance(value, date) else datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007  a day has no zone
        except ValueError:
            self.fail(f"{value!r} is no day; write it as 2026-03-31.", param, ctx)
        if not DAY_MIN <= day <= DAY_MAX:
            self.fail(f"{value} lies outside {DAY_MIN} to {DAY_MAX}.", param, ctx)
        return day


class _Instant(click.ParamType[datetime]):
    """An instant with its offset from UTC."""

    name = "INSTANT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read an instant."""
        try:
            instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no instant; write it as 2026-03-31T12:00:00+00:00.", param, ctx)
        if instant.tzinfo is None:
            self.fail(f"{value} has no time zone; write +00:00 behind it.", param, ctx)
        return instant


DAY, INSTANT = _Day(), _Instant()


def amount(text: str) -> Decimal:
    """Return the exact decimal that a person wrote; refuse what is none with :class:`Invalid`."""
    try:
        return decimal_from(text)
    except ValueError as error:
        raise Invalid(str(error), "Write it as 1234.50.") from error


def money(pair: tuple[str, str]) -> Money:
    """Return the money that a person wrote as amount and currency; refuse what is none with :class:`Invalid`."""
    try:
        return Money.of(*pair)
    except ValueError as error:
        raise Invalid(str(error), "Write it as 1234.50 EUR.") from error


def pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return (name, value) of words such as ``project=apollo``; refuse one without ``=`` with :class:`Invalid`."""
    if wrong := [word for word in words if "=" not in word]:
        raise Invalid(f"{wrong[0]!r} has no =", "Write it as NAME=VALUE.")
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def show(rows: Sequence[Shown], *, as_json: bool, none: str = "Nothing.") -> None:
    """Print rows as JSON, or as columns headed by their names; say ``none`` aside where there is no row."""
    if as_json:
        running.print_json([_plain(row) for row in rows])
        return
    if not rows:
        running.talk(none)
        return
    names = list(rows[0])
    texts = [names, *([_cell(row[name])[:CELL_CHARS_MAX] for name in names] for row in rows)]
    right = [isinstance(rows[0][name], Money | int | Decimal | float) for name in names]
    wide = [max(len(text[at]) for text in texts) for at in range(len(names))]
    for text in texts:
        cells = (
            f"{cell:>{width}}" if num else f"{cell:<{width}}"
            for cell, width, num in zip(text, wide, right, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def show_one(row: Shown, *, as_json: bool) -> None:
    """Print one thing as JSON, or as a name and a value a line; what is empty is left out of the lines."""
    if as_json:
        running.print_json(_plain(row))
        return
    for name, value in row.items():
        if (text := _cell(value)) != "":
            click.echo(f"{name:<16} {text}")


def _plain(value: Any) -> Any:
    if isinstance(value, Money):
        return value.on_the_wire()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Money):
        return f"{value.amount:,} {value.currency}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_cell(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return printable(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
