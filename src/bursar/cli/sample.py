"""``bursar sample`` and ``bursar demo``: the sample organisation."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bursar.cli import running
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.wiring import House


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed gives the same files.")
@click.option("--remove", is_flag=True, help="Remove the sample organisation and everything reviewed of it.")
def sample(folder: Path | None, seed: int, remove: bool) -> int:
    """Write 24 months of exports of an invented company to FOLDER/exports, and what was planted to FOLDER/truth.json."""
    if remove:
        home = running.settings().home / "sample"
        shutil.rmtree(home, ignore_errors=True)
        click.echo("The sample organisation is gone." if not home.exists() else f"Could not remove all of {home}")
        return OK
    if folder is None:
        raise click.UsageError("Name a folder, or --remove.")
    truth = written(folder, seed)
    click.echo(f"Wrote {truth} to {folder / 'exports'}; what was planted is in {folder / 'truth.json'}")
    running.talk(f"Next: `bursar --sample review {folder / 'exports'}`")
    return OK


def written(folder: Path, seed: int = 7) -> str:
    """Write the sample below ``folder``; return what was written in words."""
    from bursar.reports.sample import TRUTH_FILE, write_sample

    exports = folder / "exports"
    truth = write_sample(exports, seed=seed)
    (exports / TRUTH_FILE).replace(folder / TRUTH_FILE)
    rows = sum(file.rows for file in truth.files)
    return f"{len(truth.files)} files, {rows:,} rows, {len(truth.planted)} planted truths"


@click.command()
@click.option("--once", is_flag=True, help="Review and end; do not serve.")
@click.option("--port", type=int, default=None, help="Port to listen on; 0 takes a free one.")
def demo(once: bool, port: int | None) -> int:
    """Review the sample organisation (invented, clearly marked), then serve its report and API."""
    from bursar import wiring
    from bursar.cli.review import screen
    from bursar.cli.serve import serve

    running.chosen = running.Chosen(running.chosen.home, sample=True)
    home = running.settings().home
    if not (home / "truth.json").exists():
        home.mkdir(parents=True, exist_ok=True)
        running.talk(f"Writing the sample organisation: {written(home)}")

    async def use(house: "House") -> None:
        made = await wiring.review(house, [home / "exports"])
        click.echo("Sample data: Halden & Marsh does not exist.\n")
        click.echo("\n".join(screen(made)))
        click.echo("\nRemove the sample: `bursar sample --remove`. Your own files: `bursar review FOLDER`")
        if not once:
            await serve(house)

    running.in_house(use, port=port)
    return OK
