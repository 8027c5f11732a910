"""Shared by the commands: run a coroutine in an open house, print data to stdout and talk to stderr."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bursar.wiring import House

T = TypeVar("T")


def in_house(use: Callable[["House"], Awaitable[T]], **overrides: object) -> T:
    """Open the house with the settings, await ``use`` in it, close it; return what ``use`` returned."""
    from bursar import settings, wiring

    chosen = settings.load(**overrides)

    async def run() -> T:
        async with wiring.open_house(chosen) as house:
            return await use(house)

    return asyncio.run(run())


def talk(text: str) -> None:
    """Say something to the person (stderr), never data."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    """Print one JSON document (stdout)."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def width() -> int:
    """Return the columns of the terminal, 100 when there is none."""
    import shutil

    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def interactive() -> bool:
    """Tell whether progress may be drawn: a terminal, and nobody asked for quiet."""
    return sys.stderr.isatty()


def grouped(amount: Any, places: int | None = None) -> str:
    """Return a number with thousands separators for people; ``places`` None keeps what it has."""
    return f"{amount:,.{places}f}" if places is not None else f"{amount:,}"
