"""``bursar backup`` and ``bursar restore``."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bursar.cli import running
from bursar.cli.findings import json_option
from bursar.cli.main import FAILED, OK

if TYPE_CHECKING:
    from bursar.infra.backup import Report
    from bursar.infra.backup_place import Place
    from bursar.infra.backup_store import Store
    from bursar.settings import Settings
    from bursar.wiring import House

target_option = click.option(
    "--to", "target", default=None, help="Folder or s3://bucket/prefix (BURSAR_BACKUP_TARGET)."
)


def place_of(settings: "Settings", target: str | None, *, make: bool) -> "Place":
    """Open the place of backups named by option or setting."""
    from bursar.infra.backup_place import Place
    from bursar.infra.backup_store import FolderStore, S3Store
    from bursar.kernel.errors import Invalid

    where = target or settings.backup_target
    if not where:
        raise Invalid("No place for backups is named.", "Give --to FOLDER or set BURSAR_BACKUP_TARGET.")
    store: Store
    if where.startswith("s3://"):
        bucket, _, prefix = where.removeprefix("s3://").partition("/")
        store = S3Store(bucket, prefix, endpoint=settings.s3_endpoint, region=settings.s3_region)
    else:
        if make:
            Path(where).mkdir(parents=True, exist_ok=True)
        store = FolderStore(Path(where))
    phrase = settings.backup_passphrase
    return Place.open(store, phrase.get_secret_value() if phrase else None, make=make)


def folders_of(settings: "Settings") -> "dict[str, Store]":
    """Return what is kept besides the database: documents and lake, each in the home or the bucket of the settings."""
    from bursar.infra.backup_store import FolderStore, S3Store
    from bursar.wiring.house import lake_store

    files: Store = FolderStore(settings.home / "files")
    if settings.s3_bucket:
        files = S3Store(settings.s3_bucket, "files", endpoint=settings.s3_endpoint, region=settings.s3_region)
    return {"files": files, "lake": lake_store(settings)}


@click.group(invoke_without_command=True)
@target_option
@json_option
@click.pass_context
def backup(context: click.Context, target: str | None, as_json: bool) -> int:
    """Make a consistent backup of database, documents and lake; `verify` proves that one can be restored."""
    if context.invoked_subcommand:
        return OK
    return _make(target, as_json=as_json)


def _make(target: str | None, *, as_json: bool) -> int:
    from bursar import __version__
    from bursar.infra import backup as backups
    from bursar.infra.clock import utc_now

    async def use(house: "House") -> dict[str, object]:
        settings = house.settings
        place = await asyncio.to_thread(place_of, settings, target, make=True)
        manifest = await asyncio.to_thread(
            backups.back_up,
            place,
            house.backup_url,
            folders_of(settings),
            programs=house.programs,
            now=utc_now(),
            version=__version__,
            keep=settings.backup_keep,
        )
        rows = sum(table.rows for table in manifest.tables.values())
        return {
            "stamp": manifest.stamp,
            "tables": len(manifest.tables),
            "rows": rows,
            "files": len(manifest.files),
        }

    made = running.in_house(use)
    text = f"Made backup {made['stamp']}: {made['tables']} tables, {made['rows']:,} rows, {made['files']} files"
    running.tell(text, made, as_json=as_json)
    running.talk("hint: `bursar backup verify` proves that it can be restored")
    running.talk(f"hint: {_secret_hint(running.settings())}")
    return OK


def _secret_hint(settings: "Settings") -> str:
    """Say what a backup leaves out on purpose: the key to the credentials in it."""
    where = "BURSAR_SECRET" if settings.secret else str(settings.home / "secret")
    return (
        f"keep {where} apart from the backups: it is in none of them, and without it second factors, webhook secrets and"
        " the seals of the audit trail of a restored database cannot be read"
    )


@backup.command("list")
@target_option
@json_option
def list_(target: str | None, as_json: bool) -> int:
    """List the backups at the target, oldest first."""
    stamps = place_of(running.settings(), target, make=False).stamps()
    running.tell("\n".join(stamps), stamps, as_json=as_json)
    return OK


@backup.command()
@click.argument("stamp", default="latest")
@target_option
@json_option
def verify(stamp: str, target: str | None, as_json: bool) -> int:
    """Restore backup STAMP into a scratch server and compare every table and file."""
    from bursar.infra import backup as backups

    settings = running.settings()
    report = backups.verify(place_of(settings, target, make=False), stamp, pg_bin=settings.pg_bin)
    return _told(report, as_json=as_json)


@click.command()
@click.argument("stamp", default="latest")
@click.option("--from", "target", default=None, help="Folder or s3://bucket/prefix (BURSAR_BACKUP_TARGET).")
@click.option("--replace", is_flag=True, help="Drop what the home holds now.")
@json_option
def restore(stamp: str, target: str | None, replace: bool, as_json: bool) -> int:
    """Bring backup STAMP back: documents and lake, then the database, then compare. Stop the server first."""
    from bursar.infra import backup as backups
    from bursar.infra.embedded_postgres import OWNER, EmbeddedPostgres, bundled_binaries
    from bursar.infra.migrate import migrate

    settings = running.settings()
    place = place_of(settings, target, make=False)
    folders = folders_of(settings)
    if settings.database_url:
        url = settings.database_url.get_secret_value().replace("postgresql://", "postgresql+psycopg://", 1)
        report = backups.restore(
            place, stamp, url, folders, programs=settings.pg_bin or bundled_binaries(), replace=replace
        )
        asyncio.run(migrate(url))
        return _told(report, as_json=as_json)
    settings.home.mkdir(parents=True, exist_ok=True)
    with EmbeddedPostgres(settings.home, pg_bin=settings.pg_bin) as server:
        report = backups.restore(
            place, stamp, server.url(OWNER), folders, programs=server.place.binaries, replace=replace
        )
        asyncio.run(migrate(server.url(OWNER)))
    return _told(report, as_json=as_json)


def _told(report: "Report", *, as_json: bool) -> int:
    if as_json:
        running.print_json(asdict(report) | {"ok": report.ok})
        return OK if report.ok else FAILED
    click.echo(
        f"{report.stamp}: {report.tables} tables, {report.rows:,} rows, {report.files} files, {report.size:,} bytes:"
        f" {'all as it was' if report.ok else 'NOT as it was'}"
    )
    for problem in report.problems:
        click.echo(f"  {problem}")
    return OK if report.ok else FAILED
