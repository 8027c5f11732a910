"""What outlived its purpose: disks whose machine is gone, and databases that nothing reads or writes any more.

A bill does not say which disk belongs to which machine. Names do: the same name tag, or a disk called after its machine
(``vm-7_osdisk_1``, ``vm-7-data``). Where one machine of that name still runs, the disk is taken to be in use.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta

import polars as pl

from bursar.parts.cloud.rules.history import History, lifetimes
from bursar.parts.cloud.rules.waste import MeterRule, picked

GONE_DAYS_MIN = 21
"""A machine that was not billed for three weeks was stopped for good, not for a weekend or a holiday."""

QUIET_DAYS_MIN = 30
"""A database without one read or write for a month is not in use."""

CURRENT_DAYS = 3
"""A resource billed on one of the last days that the bill covers goes on."""

NAME_CHARS_MIN = 3
"""A shorter name says nothing about what belongs together."""

DISK = r"ebs:volumeusage|pd capacity|persistent disk|managed dis[kc]|\b(lrs|zrs) dis[kc]|block volume|/disks/"
HOURS = r"(^|; )(1 )?(gi?b(ibyte)? |ocpu |vcpu )?(hrs?|hours?)\b|gibibyte hour"
MACHINE_NOT = r"natgateway|nat gateway|load ?balancer|snapshot|idleaddress|ip charge|vpn"
ACTIVITY = r"i/?o ?usage|\bios\b|i/o requests|requests?\b|request units|read|write|queries|dtu"
BILLS_NO_IO = r"iooptimized|io-optimized|i/o-optimized"

DISK_OUTLIVED = MeterRule(
    "cloud.unattached_storage", DISK, "", "1", "0.8", "1", 0.75,
    "Disk {name} outlived its machine", "Take a snapshot and delete the disk.",
    "all of its capacity", "low", "medium",
)  # fmt: skip

DATABASE_IDLE = MeterRule(
    "cloud.idle_database", "", "", "1", "0.8", "1", 0.75,
    "Database {name} runs but is not read or written", "Take a snapshot and delete or stop the database.",
    "all of its hours", "medium", "medium",
)  # fmt: skip

_TAGGED = re.compile(r'"(?:[a-z]+:)?(?:name|instance|vm|machine|host|hostname|server)"\s*:\s*"([^"]+)"', re.IGNORECASE)
_CUT = re.compile(r"[-_.]")

Place = tuple[str, str, str]
"""Provider, account and name."""


def outlived_disks(uses: pl.DataFrame, seen: History) -> pl.DataFrame:
    """Return disks that are still billed although every machine of their name stopped long ago.

    Args:
        uses: Rows of :func:`~bursar.parts.cloud.rules.waste.resources` of the last days.
        seen: The history.

    Returns:
        Rows of :data:`~bursar.parts.cloud.rules.waste.COLUMNS` and ``why``.
    """
    lives = lifetimes(seen)
    disks = lives.filter(
        pl.col("text").str.contains(DISK) | pl.col("resource_id").str.to_lowercase().str.contains("/disks/")
    )
    machines = lives.filter(
        pl.col("service_category").fill_null("").eq("Compute")
        & pl.col("units").str.contains(HOURS)
        & ~pl.col("text").str.contains(f"{DISK}|{MACHINE_NOT}")
    )  # fmt: skip
    stops = _last_days(machines)
    why: dict[str, str] = {}
    for disk in disks.iter_rows(named=True):
        if not _current(disk):
            continue
        found = _linked(disk, stops)
        if found is not None and (disk["until"] - found[1]).days > GONE_DAYS_MIN:
            why[disk["resource_id"]] = f"all of its capacity: the machine {found[0]} was last billed on {found[1]}"
    return _chosen(uses, why, meter=DISK, kind=DISK_OUTLIVED.kind)


def idle_databases(uses: pl.DataFrame, seen: History) -> pl.DataFrame:
    """Return databases billed by the hour whose reads and writes were billed once and stopped; see :func:`outlived_disks`."""
    lives = lifetimes(seen).filter(pl.col("service_category").fill_null("").eq("Databases"))
    active = pl.col("text").str.contains(ACTIVITY) & ~pl.col("units").str.contains(HOURS)
    stops = _last_days(lives.filter(active))
    why: dict[str, str] = {}
    for base in lives.filter(pl.col("units").str.contains(HOURS)).iter_rows(named=True):
        if not _current(base) or re.search(BILLS_NO_IO, base["text"]):
            continue
        found = _linked(base, stops)
        if found is not None and (base["until"] - found[1]).days > QUIET_DAYS_MIN:
            why[base["resource_id"]] = f"all of its hours: the last read or write was billed on {found[1]}"
    return _chosen(uses, why, meter="", kind=DATABASE_IDLE.kind)


def _current(life: Mapping[str, date]) -> bool:
    return life["last_day"] >= life["until"] - timedelta(days=CURRENT_DAYS)


def _names(life: Mapping[str, object]) -> Iterator[str]:
    names = life["names"]
    yield from (names if isinstance(names, Iterable) else ())
    yield from (found.lower() for found in _TAGGED.findall(str(life["tags"] or "")))


def _last_days(lives: pl.DataFrame) -> dict[Place, date]:
    """Return the last day that anything of a name was billed for."""
    found: dict[Place, date] = {}
    for life in lives.iter_rows(named=True):
        for name in _names(life):
            place = (life["provider"], life["sub_account_id"] or "", name)
            found[place] = max(found.get(place, life["last_day"]), life["last_day"])
    return found


def _linked(life: Mapping[str, object], stops: Mapping[Place, date]) -> tuple[str, date] | None:
    """Return the name that a resource shares with others and the last day of any of them; None where there is none.

    A whole name counts before the beginning of one, and of beginnings the longest.
    """
    here = (str(life["provider"]), str(life["sub_account_id"] or ""))
    names = set(_names(life))
    whole = {name: stops[*here, name] for name in names if (*here, name) in stops}
    if not whole:
        beginnings = (name[: cut.start()] for name in names for cut in _CUT.finditer(name))
        for name in sorted(set(beginnings), key=len, reverse=True):
            if len(name) >= NAME_CHARS_MIN and (*here, name) in stops:
                whole = {name: stops[*here, name]}
                break
    if not whole:
        return None
    latest = max(whole, key=lambda name: (whole[name], name))
    return latest, whole[latest]


def _chosen(uses: pl.DataFrame, why: Mapping[str, str], *, meter: str, kind: str) -> pl.DataFrame:
    rows = uses.filter(pl.col("resource_id").is_in(list(why)))
    if meter:
        rows = rows.filter(
            pl.col("text").str.contains(meter) | pl.col("resource_id").str.to_lowercase().str.contains("/disks/")
        )
    found = picked(rows, kind)
    return found.with_columns(
        pl.col("resource_id").replace_strict(why, default="", return_dtype=pl.String()).alias("why")
    )
