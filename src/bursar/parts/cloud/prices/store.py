"""Prices on disk (one Parquet file per provider and region, replaced by rename) and in memory (sorted hashes)."""

import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bursar.kernel.errors import Invalid, TooLarge
from bursar.kernel.prices import PRICE_COLUMNS
from bursar.parts.cloud.prices.rules import Priced, Wanted, checked, empty, scope_of

PACK_BYTES_MAX = 2 * 2**30
"""Largest price pack that is unpacked."""

PACK_MEMBERS_MAX = 5_000
"""Most files in a price pack."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")


@dataclass(frozen=True, slots=True)
class Status:
    """How reading one catalogue went last.

    Attributes:
        name: The catalogue, such as ``aws``.
        tried_at: Last attempt, ISO 8601.
        succeeded_at: Last success, ISO 8601; empty when there was none.
        prices: Prices read at the last success.
        error: What went wrong at the last attempt; empty when it succeeded.
    """

    name: str
    tried_at: str = ""
    succeeded_at: str = ""
    prices: int = 0
    error: str = ""


class Prices:
    """The price tables under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def scopes(self) -> list[tuple[str, str]]:
        """Return the (provider, region) pairs that have a table."""
        return sorted((path.parent.name, path.stem) for path in self.folder.glob("*/*.parquet"))

    def read(self, provider: str, region: str) -> pl.DataFrame:
        """Return the table of a provider and region; empty when there is none."""
        path = self._path(provider, region)
        return checked(pl.read_parquet(path)) if path.exists() else empty()

    def write(self, provider: str, region: str, table: pl.DataFrame) -> None:
        """Replace the table of a provider and region; readers see the old one or the new one, never a part."""
        path = self._path(provider, region)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        os.close(handle)
        try:
            checked(table).write_parquet(name, compression="zstd")
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)

    def all(self) -> pl.DataFrame:
        """Return every table in one."""
        tables = [self.read(provider, region) for provider, region in self.scopes()]
        return pl.concat(tables) if tables else empty()

    def stamp(self) -> tuple[tuple[str, int], ...]:
        """Return what changes whenever a table is replaced; asking costs one look at every file's date."""
        return tuple(sorted((str(path), path.stat().st_mtime_ns) for path in self.folder.glob("*/*.parquet")))

    def _path(self, provider: str, region: str) -> Path:
        for part in (provider, region):
            if not _NAME.fullmatch(part):
                raise Invalid(f"{part!r} is no provider or region.", "Use names such as aws and eu-central-1.")
        return self.folder / provider / f"{region}.parquet"

    def statuses(self) -> dict[str, Status]:
        """Return how reading each catalogue went last."""
        path = self.folder / "status.json"
        if not path.exists():
            return {}
        return {name: Status(**facts) for name, facts in json.loads(path.read_text(encoding="utf-8")).items()}

    def report(self, name: str, now: datetime, *, prices: int = 0, error: str = "") -> None:
        """Note how reading the catalogue ``name`` went."""
        known = self.statuses()
        old = known.get(name, Status(name))
        stamp = now.isoformat()
        fresh = replace(old, tried_at=stamp, error=error[:500])
        known[name] = fresh if error else replace(fresh, succeeded_at=stamp, prices=prices)
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({key: asdict(status) for key, status in known.items()}, file, indent=1)
        Path(temporary).replace(self.folder / "status.json")

    def pack(self, document: Path) -> int:
        """Write every table into one file for a site without network; return the number of prices."""
        prices = 0
        with tarfile.open(document, "w") as archive:
            for provider, region in self.scopes():
                path = self._path(provider, region)
                prices += pl.scan_parquet(path).select(pl.len()).collect().item()
                info = archive.gettarinfo(path, arcname=f"{provider}/{region}.parquet")
                info.uid = info.gid = 0
                info.uname = info.gname = ""
                with path.open("rb") as file:
                    archive.addfile(info, file)
        return prices

    def unpack(self, document: Path) -> Iterator[tuple[str, str, pl.DataFrame]]:
        """Yield the tables of a pack, each checked; nothing is written.

        Raises:
            Invalid: It is no price pack.
            TooLarge: It is larger than any pack is.
        """
        if document.stat().st_size > PACK_BYTES_MAX:
            raise TooLarge("The price pack", PACK_BYTES_MAX, "bytes")
        try:
            with tarfile.open(document, "r:") as archive:
                members = archive.getmembers()
                if len(members) > PACK_MEMBERS_MAX:
                    raise TooLarge("The price pack", PACK_MEMBERS_MAX, "files")
                for member in members:
                    yield self._member(archive, member)
        except (tarfile.TarError, pl.exceptions.PolarsError, OSError, EOFError) as error:
            raise Invalid("This is no price pack.", "Make one with `bursar prices pack`.") from error

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, str, pl.DataFrame]:
        provider, slash, rest = member.name.partition("/")
        region = rest.removesuffix(".parquet")
        file = archive.extractfile(member) if member.isfile() else None
        if not (slash and file and rest.endswith(".parquet") and _NAME.fullmatch(provider) and _NAME.fullmatch(region)):
            raise Invalid(
                f"The price pack holds {member.name[:80]!r}, which is no price table.", "Make the pack again."
            )
        table = checked(pl.read_parquet(file.read()))
        if table.height and scope_of(table) != [(provider, region)]:
            raise Invalid(f"{member.name} holds prices of another provider or region.", "Make the pack again.")
        return provider, region, table


class Book:
    """Prices in memory, looked up by hash: two sorted arrays and one frame; a lookup costs microseconds."""

    def __init__(self, table: pl.DataFrame) -> None:
        self.table = table
        self._by: dict[str, tuple[NDArray[np.uint64], NDArray[np.int64]]] = {
            "sku": _index(table, ("provider", "region", "sku", "term", "currency")),
            "type": _index(table, ("provider", "region", "instance_type", "os", "term", "currency")),
        }
        self._read_on: dict[tuple[str, ...], date] = {}
        if table.height:
            last = table.group_by("provider", "region", "service", "source").agg(pl.col("seen_on").max())
            self._read_on = {tuple(names): day for *names, day in last.iter_rows()}

    def find(self, wanted: Wanted, on: date) -> Priced | None:
        """Return the price on a day; the nearest known one when no validity period covers the day; None if unknown."""
        kind, *values = wanted.by
        hashes, places = self._by[kind]
        key = np.uint64(pl.Series(["\x1f".join(values)]).hash().item())
        low, high = int(np.searchsorted(hashes, key, "left")), int(np.searchsorted(hashes, key, "right"))
        if low == high:
            return None
        rows = [self.table.row(int(place), named=True) for place in places[low:high]]
        names = ("provider", "region", *_VALUES[kind])
        rows = [row for row in rows if [row[name] for name in names] == values and row["tier_start"] <= wanted.tier]
        return self._best(rows, on)

    def _best(self, rows: Sequence[Mapping[str, object]], on: date) -> Priced | None:
        chosen = None
        distance = None
        for row in rows:
            start, end, tier, price = row["valid_from"], row["valid_to"], row["tier_start"], row["price"]
            assert isinstance(price, Decimal)
            assert isinstance(tier, Decimal)
            first = start if isinstance(start, date) else date.min
            last = end if isinstance(end, date) else date.max
            away = 0 if first <= on < last else (first - on).days if on < first else (on - last).days + 1
            rank = (away, -tier, -price)
            if distance is None or rank < distance:
                chosen, distance = row, rank
        return None if chosen is None or distance is None else self._priced(chosen, on, distance[0])

    def _priced(self, row: Mapping[str, object], on: date, away: Decimal | int) -> Priced:
        start, end, seen, price = row["valid_from"], row["valid_to"], row["seen_on"], row["price"]
        assert isinstance(seen, date)
        assert isinstance(price, Decimal)
        day = (
            on
            if not away
            else start
            if isinstance(start, date) and on < start
            else end
            if isinstance(end, date)
            else on
        )
        read_on = self._read_on[str(row["provider"]), str(row["region"]), str(row["service"]), str(row["source"])]
        text = {name: str(row[name] or "") for name, kind in PRICE_COLUMNS.items() if kind == pl.String()}
        begins = start.isoformat() if isinstance(start, date) else "start"
        return Priced(
            id=":".join((text["provider"], text["region"], text["sku"], text["term"], begins)),
            provider=text["provider"],
            service=text["service"],
            sku=text["sku"],
            region=text["region"],
            instance_type=text["instance_type"],
            os=text["os"],
            arch=text["arch"],
            vcpu=_number(row["vcpu"]),
            memory_gib=_number(row["memory_gib"]),
            unit=text["unit"],
            term=text["term"],
            currency=text["currency"],
            amount=price,
            day=min(day, seen) if isinstance(day, date) else seen,
            seen_on=seen,
            exact=not away and on <= seen,
            vanished=end is None and seen < read_on,
            source=text["source"],
            description=text["description"],
        )


_VALUES: Mapping[str, tuple[str, ...]] = {
    "sku": ("sku", "term", "currency"),
    "type": ("instance_type", "os", "term", "currency"),
}


def _number(value: object) -> float | None:
    return value if isinstance(value, float) else None


def _index(table: pl.DataFrame, names: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the sorted hashes of the columns' values, and the row of each."""
    whole = table.with_row_index("place").filter(pl.all_horizontal(pl.col(name).is_not_null() for name in names))
    keys = whole.select(pl.concat_str(names, separator="\x1f").alias("key"))["key"].hash().to_numpy()
    order = np.argsort(keys, kind="stable")
    return keys[order], whole["place"].cast(pl.Int64).to_numpy()[order]
