"""Shared by the commands: run a coroutine in an open house, print data to stdout and talk to stderr."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bursar.infra.db import Tx
    from bursar.kernel.actor import Actor
    from bursar.settings import Settings
    from bursar.wiring import House

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which home the root options chose."""

    home: str | None = None
    sample: bool = False

    @property
    def command(self) -> str:
        """How to spell the program in a hint so that it works on the same home."""
        return "bursar --sample" if self.sample else "bursar" if self.home is None else f"bursar --home {self.home}"


chosen = Chosen()
"""Set once by the root command."""


class Place(click.Path):
    """A path that exists, or ``s3://bucket/prefix``."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Look whether a path exists; a bucket is looked into later."""
        text = str(value)
        return text if text.startswith("s3://") else str(super().convert(value, param, ctx))


places_argument = click.argument("places", nargs=-1, required=True, metavar="PATH...", type=Place(exists=True))
"""Places to import from."""


def settings(**overrides: object) -> "Settings":
    """Return the settings with the root options applied."""
    from pathlib import Path

    from bursar.settings import load

    made = load(**(overrides | ({"home": Path(chosen.home).absolute()} if chosen.home else {})))
    return made.model_copy(update={"home": made.home / "sample"}) if chosen.sample else made


def in_house(use: Callable[["House"], Awaitable[T]], **overrides: object) -> T:
    """Open the house with the settings, await ``use`` in it, close it; return what ``use`` returned."""
    from bursar import wiring

    taken = settings(**overrides)

    async def run() -> T:
        async with wiring.open_house(taken) as house:
            return await use(house)

    return asyncio.run(run())


def in_org(org: str | None, ask: Callable[["Tx", "Actor"], Awaitable[T]], *, write: bool = False) -> T:
    """Ask in one transaction of an organisation, as the person at this machine; return what ``ask`` returned."""
    from bursar import wiring

    async def use(house: "House") -> T:
        actor = await wiring.local_actor(house, org)
        async with (house.db.writing if write else house.db.reading)(actor) as tx:
            return await ask(tx, actor)

    return in_house(use)


def secret(what: str, *, twice: bool = False) -> str:
    """Ask for a secret, hidden and if need be ``twice`` on a terminal; else read the next line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True))
    return sys.stdin.readline().rstrip("\n")


def talk(text: str) -> None:
    """Say something to the person (stderr), never data."""
    click.echo(text, err=True)


def tell(text: str, facts: Any, *, as_json: bool) -> None:
    """Print a result: as a sentence, or its facts as JSON."""
    if as_json:
        print_json(facts)
    else:
        click.echo(text)


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


@contextmanager
def progress_bar(unit: str) -> "Iterator[Callable[[int, int, str], Awaitable[None]]]":
    """Give a function to await with done, total and what comes next; it draws a bar where there is a terminal."""
    if not interactive():
        yield _nobody
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("")

        async def told(done: int, total: int, note: str) -> None:
            bar.update(task, completed=done, total=total, description=note)

        yield told


async def _nobody(done: int, total: int, note: str) -> None:
    del done, total, note


def grouped(amount: Any, places: int | None = None) -> str:
    """Return a number with thousands separators for people; ``places`` None keeps what it has."""
    return f"{amount:,.{places}f}" if places is not None else f"{amount:,}"
