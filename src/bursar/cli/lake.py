"""The lake on the command line."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bursar.cli import running
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.infra.lake_compact import Compacted
    from bursar.wiring import House


@click.group()
def lake() -> None:
    """The lake: imported lines as Parquet, in the home folder or in S3."""


@lake.command()
@click.option("--all", "every", is_flag=True, help="Also put together what is only two files.")
@json_option
@org_option
def compact(every: bool, as_json: bool, org: str | None) -> int:
    """Put the small files of each month together; remove what has not been needed for a day.

    Safe at any time, also beside imports. A job does the same each night.
    """
    from bursar import wiring
    from bursar.core.intake.jobs import Keeper
    from bursar.infra.clock import utc_now
    from bursar.infra.lake_compact import OBJECTS_MIN
    from bursar.wiring.house import SCHEMAS

    async def use(house: "House") -> "tuple[Compacted, int]":
        actor = await wiring.local_actor(house, org)
        keeper = Keeper(house.lake, SCHEMAS)
        return await keeper.compact(house.db, actor, now=utc_now(), objects_min=2 if every else OBJECTS_MIN)

    done, removed = running.in_house(use)
    text = f"Put {done.files} files ({done.rows:,} rows) into {done.packs}; removed {removed} that nothing needed."
    running.tell(text, asdict(done) | {"removed": removed}, as_json=as_json)
    return OK
