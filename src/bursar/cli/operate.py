"""Operating Bursar: migrate, doctor, config, audit, version."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bursar.cli import running
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import FAILED, OK

if TYPE_CHECKING:
    from bursar.core.audit.service import Verdict
    from bursar.settings import Settings
    from bursar.wiring import House


@click.command()
@json_option
def version(as_json: bool) -> int:
    """Print the version."""
    from bursar import __version__

    running.tell(__version__, {"version": __version__}, as_json=as_json)
    return OK


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script for SHELL; for bash: eval "$(bursar completion bash)"."""
    from click.shell_completion import get_completion_class

    from bursar.cli.main import cli

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "bursar", "_BURSAR_COMPLETE").source())
    return OK


@click.command()
@json_option
def migrate(as_json: bool) -> int:
    """Bring the database schema up to date; safe to run twice and while an older Bursar runs."""

    async def use(house: "House") -> None:
        from bursar.infra.migrate import migrate as upgrade

        await upgrade(house.owner_url)

    running.in_house(use)
    running.tell("The schema is up to date.", {"current": True}, as_json=as_json)
    return OK


@click.group()
def config() -> None:
    """Show settings and make secrets."""


@config.command("show")
@json_option
def show(as_json: bool) -> int:
    """Print every setting with its value; secrets are masked."""
    settings = running.settings()
    values = {name: str(getattr(settings, name)) for name in type(settings).model_fields}
    if as_json:
        running.print_json(values)
        return OK
    for name, value in values.items():
        given = "" if name not in settings.model_fields_set else "   (set)"
        click.echo(f"BURSAR_{name.upper():<24} {value}{given}")
    return OK


@config.command("secret")
def secret() -> int:
    """Print a new random secret for BURSAR_SECRET."""
    import secrets

    click.echo(secrets.token_urlsafe(48))
    return OK


@config.command("reference")
@click.option("--write", type=click.Path(path_type=Path), default=None, help="Write it here.")
def reference(write: Path | None) -> int:
    """Print docs/settings.md."""
    from bursar.settings import reference as text

    if write:
        write.write_text(text(), encoding="utf-8")
    else:
        click.echo(text(), nl=False)
    return OK


@config.command("cli")
@click.option("--write", type=click.Path(path_type=Path), default=None, help="Write it here.")
def cli_reference(write: Path | None) -> int:
    """Print docs/reference/cli.md."""
    from bursar.cli.reference import reference as text

    if write:
        write.write_text(text(), encoding="utf-8")
    else:
        click.echo(text(), nl=False)
    return OK


@click.group()
def audit() -> None:
    """The audit trail."""


@audit.command("verify")
@json_option
@org_option
def verify(as_json: bool, org: str | None) -> int:
    """Prove that every sealed entry is as it was sealed, or name the first that is not."""

    async def use(house: "House") -> "Verdict":
        from bursar import wiring
        from bursar.core.audit import service
        from bursar.infra.anchors import Anchors

        actor = await wiring.local_actor(house, org)
        keyring = wiring.keyring_of(house.settings)
        return await service.verify(house.db, actor, keyring=keyring, anchors=Anchors(house.settings.home / "anchors"))

    verdict = running.in_house(use)
    if as_json:
        running.print_json(
            {"entries": verdict.rows, "blocks": verdict.blocks, "broken": verdict.broken and asdict(verdict.broken)}
        )
    else:
        click.echo(f"{verdict.rows:,} entries in {verdict.blocks:,} blocks; {verdict.unsealed:,} not sealed yet")
        click.echo("All as it was sealed." if verdict.broken is None else f"BROKEN: {verdict.broken.what}")
    return OK if verdict.broken is None else FAILED


CLOCK_SKEW_S_MAX = 5
"""Most that the clocks of the database and of this machine may differ, in seconds."""

Check = tuple[str, bool | None, str]
"""Name, well (None: not used), what it says or how to fix it."""


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Check the installation; each fault comes with its fix. Exits 1 when something is wrong."""
    settings = running.settings()
    found = [*_local_checks(settings), *asyncio.run(_remote_checks(settings))]
    if as_json:
        running.print_json([{"check": name, "ok": ok, "says": says} for name, ok, says in found])
    else:
        for name, ok, says in found:
            click.echo(f"{'-' if ok is None else 'ok' if ok else 'XX':<3} {name:<22} {says}")
    return FAILED if any(ok is False for _, ok, _ in found) else OK


def _local_checks(settings: "Settings") -> list[Check]:
    import shutil
    import sys

    settings.home.mkdir(parents=True, exist_ok=True)
    usage = shutil.disk_usage(settings.home)
    free = usage.free / usage.total
    room = free > 0.05 and usage.free > 1024**3
    return [
        ("python", sys.version_info >= (3, 11), sys.version.split()[0]),
        ("settings", True, f"stage {settings.stage.value}, home {settings.home}"),
        (
            "disk",
            room,
            f"{usage.free / 1024**3:,.1f} GiB free ({free:.0%})"
            + ("" if room else "; make room or move BURSAR_HOME: below 5 % or 1 GiB imports stop"),
        ),
        _forecasters(settings),
    ]


def _forecasters(settings: "Settings") -> Check:
    """Tell whether the packages of the forecasters asked for are here."""
    from bursar.kernel.errors import Invalid
    from bursar.ml.forecast.lineup import Extras

    try:
        names = Extras.of(settings.forecasters).names
    except Invalid as refusal:
        return "forecasters", False, f"{refusal}. {refusal.fix}"
    return "forecasters", bool(names) or None, ", ".join(names) or "the house's own; hangs on BURSAR_FORECASTERS"


async def _remote_checks(settings: "Settings") -> list[Check]:
    from bursar.settings import Stage

    used: list[tuple[str, bool, Callable[[], Awaitable[str]], str]] = [
        ("mail", settings.smtp_url is not None, lambda: _smtp(settings), "BURSAR_SMTP_URL"),
        ("S3", bool(settings.s3_bucket), lambda: _s3(settings), "BURSAR_S3_BUCKET and the keys of AWS"),
        ("price catalogues", settings.stage is Stage.PROD, _prices, "BURSAR_STAGE=prod and the way out to HTTPS"),
        ("language model", settings.anthropic_key is not None, lambda: _model(settings), "BURSAR_ANTHROPIC_KEY"),
    ]
    found = await _database_checks(settings)
    for name, wanted, check, hangs_on in used:
        if not wanted:
            found.append((name, None, f"not used; hangs on {hangs_on}"))
            continue
        try:
            found.append((name, True, await check()))
        except Exception as error:  # whatever a check meets is what the person must read
            found.append((name, False, f"{_met(error)}; check {hangs_on}"))
    return found


def _met(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


async def _database_checks(settings: "Settings") -> list[Check]:
    """Check the database, and what in it waits for somebody."""
    import importlib
    import time

    from bursar import wiring
    from bursar.core.operations import service as operations
    from bursar.infra.clock import utc_now

    importlib.import_module("bursar.wiring.http")  # declares every table, so that a stray one stands out
    began = time.perf_counter()
    try:
        async with wiring.open_house(settings) as house:
            async with house.db.system("doctor") as tx:
                version, now = tuple(
                    await tx.one("select current_setting('server_version'), now()") or ("?", utc_now())
                )
            taken = time.perf_counter() - began
            waiting = await operations.waiting_for_somebody(house.db)
    except Exception as error:  # whatever it meets is what the person must read
        hangs_on = "BURSAR_HOME" if settings.embedded else "BURSAR_DATABASE_URL"
        return [("database", False, f"{_met(error)}; check {hangs_on}")]
    kind, skew = "embedded" if settings.embedded else "own", abs((now - utc_now()).total_seconds())
    apart = f"{skew:.1f} s between the database and this machine"
    together = skew <= CLOCK_SKEW_S_MAX
    return [
        ("database", True, f"{kind} PostgreSQL {version}, schema current, answered in {taken:.1f} s"),
        ("clock", together, apart if together else f"{apart}; synchronise both (NTP)"),
        *((check.name, check.ok, check.detail) for check in waiting),
    ]


async def _smtp(settings: "Settings") -> str:
    import aiosmtplib

    from bursar.infra.mail_smtp import Smtp

    assert settings.smtp_url is not None
    server = Smtp.of(settings.smtp_url.get_secret_value())
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        use_tls=server.tls == "tls",
        start_tls=server.tls == "starttls",
        timeout=10,
    )
    async with client:
        if server.user:
            await client.login(server.user, server.password)
    return f"{server.host}:{server.port} answers"


async def _s3(settings: "Settings") -> str:
    def ask() -> str:
        import boto3

        client = boto3.client("s3", endpoint_url=settings.s3_endpoint or None, region_name=settings.s3_region)
        client.head_bucket(Bucket=settings.s3_bucket)
        return f"bucket {settings.s3_bucket} is reachable"

    return await asyncio.to_thread(ask)


async def _prices() -> str:
    from bursar.infra.http import Egress, Host

    client = Egress().client("doctor", allow=[Host("prices.azure.com")])
    await client.get("https://prices.azure.com/api/retail/prices?$top=1")
    return "price catalogues are reachable"


async def _model(settings: "Settings") -> str:
    """Say that the key is accepted, may use every model of the settings, and how much a month may cost."""
    from bursar.wiring.tools import language_means, language_vendor

    means, vendor = language_means(settings), language_vendor(settings)
    missing = [model.name for model in means.models if model.name not in await vendor.models()]
    if missing:
        message = f"the key may not use {', '.join(missing)}; change BURSAR_LLM_MODELS"
        raise LookupError(message)
    spend = (
        f"up to {means.monthly_max:f} USD a month" if means.monthly_max else "BURSAR_LLM_MONTHLY_CAP is 0: never asked"
    )
    return f"the key is accepted; {spend}"
