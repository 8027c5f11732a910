"""AWS Price List bulk files: no credentials, one CSV per service and region, and the price at a past day.

The CSV offer has five lines of metadata and its header in line 6; every price row repeats the product's attributes. A
partial-upfront reservation is two rows (hourly and upfront): the upfront is spread over the term's hours. Files are
hundreds of megabytes: they are downloaded resumably and read by DuckDB within a memory limit.
"""

import tempfile
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from bursar.connectors.prices.columns import exact
from bursar.connectors.prices.downloads import Progress, download
from bursar.infra.http import Client, Host, NoAnswer
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import DECIMAL
from bursar.kernel.prices import PRICE_COLUMNS

BASE = "https://pricing.us-east-1.amazonaws.com"
HOSTS = (Host("pricing.us-east-1.amazonaws.com"), Host("pricing.cn-north-1.amazonaws.com.cn"))
OFFERS = ("AmazonEC2", "AmazonRDS", "AmazonS3", "AmazonVPC", "AWSELB", "AmazonElastiCache")
MEMORY_MB = 96
"""Memory DuckDB may use while it reads an offer, MB."""

SCHEMA = pl.Schema(PRICE_COLUMNS)

BUFFER_BYTES = 5_000_000
"""Bytes of the file that DuckDB reads at once; a row may have at most two million."""

METADATA_LINES = 5

HOURS_A_YEAR = 8760


def _quiet(_done: int, _whole: int) -> None:
    """Tell nobody."""


class AwsBulk:
    """The offers of some regions.

    Args:
        client: For :data:`HOSTS`.
        regions: Such as ``eu-central-1``.
        offers: Offer codes.
        base: Address of the service.
        seen: Version last read of (offer, region); a version already read is not downloaded again.
        progress: Told bytes so far and whole size of each file.
    """

    name = "aws"

    def __init__(
        self,
        client: Client,
        regions: Sequence[str],
        *,
        offers: Sequence[str] = OFFERS,
        base: str = BASE,
        seen: MutableMapping[tuple[str, str], str] | None = None,
        progress: Progress = _quiet,
    ) -> None:
        self.regions = tuple(regions)
        self._client, self._offers, self._base, self._progress = client, tuple(offers), base, progress
        self._seen = {} if seen is None else seen

    async def read(self, region: str, *, day: date) -> pl.DataFrame | None:
        """Return the current prices of a region; None when no offer has a version that was not read before."""
        tables = []
        fresh: dict[tuple[str, str], str] = {}
        for offer in self._offers:
            url = await self._current(offer, region)
            if url and self._seen.get((offer, region)) != url:
                tables.append(await self._table(url, region, day))
                fresh[offer, region] = url
        self._seen.update(fresh)
        return pl.concat(tables) if tables else None

    async def read_as_of(self, offer: str, region: str, *, day: date) -> pl.DataFrame:
        """Return the prices of an offer and region that were valid on a past ``day``.

        Raises:
            NoAnswer: The service lists no version for that day.
        """
        index = await self._json(f"/offers/v1.0/aws/{offer}/index.json")
        version = version_at(index.get("versions", {}), day)
        if version is None:
            raise NoAnswer("the AWS price list", f"it has no version of {offer} for {day}")
        return await self._table(f"/offers/v1.0/aws/{offer}/{version}/{region}/index.csv", region, day)

    async def read_savings(self, region: str, *, day: date, plan: str = "AWSComputeSavingsPlan") -> pl.DataFrame:
        """Return the savings-plan prices of a region."""
        index = await self._json(f"/savingsPlan/v1.0/aws/{plan}/current/region_index.json")
        entries = index.get("regions") or []
        url = next((str(entry.get("versionUrl", "")) for entry in entries if entry.get("regionCode") == region), "")
        if not url:
            raise NoAnswer("the AWS price list", f"it lists no savings plan in {region}")
        return await self._table(url.removesuffix(".json") + ".csv", region, day, savings=True)

    async def _current(self, offer: str, region: str) -> str:
        index = await self._json(f"/offers/v1.0/aws/{offer}/current/region_index.json")
        regions = index.get("regions")
        if not isinstance(regions, dict):
            raise NoAnswer("the AWS price list", f"its index of {offer} has no regions")
        url = str((regions.get(region) or {}).get("currentVersionUrl", ""))
        return url.removesuffix(".json") + ".csv" if url else ""

    async def _json(self, path: str) -> Mapping[str, Any]:
        document = exact(await self._client.get(self._base + path))
        if not isinstance(document, dict):
            raise NoAnswer("the AWS price list", f"{path} is no index")
        return document

    async def _table(self, path: str, region: str, day: date, *, savings: bool = False) -> pl.DataFrame:
        with tempfile.TemporaryDirectory(prefix="bursar-prices-") as scratch:
            target = Path(scratch) / "offer.csv"
            await download(self._client, self._base + path, target, progress=self._progress)
            return (savings_table if savings else offer_table)(target, region=region, day=day)


def version_at(versions: Mapping[str, Mapping[str, Any]], day: date) -> str | None:
    """Return the name of the version that was in effect at the end of ``day``; None when there was none."""
    at = datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)
    found = None
    for name, facts in versions.items():
        begins = _instant(facts.get("versionEffectiveBeginDate"))
        ends = _instant(facts.get("versionEffectiveEndDate"))
        if begins and begins <= at and (ends is None or at < ends) and (found is None or begins > found[0]):
            found = (begins, name)
    return found[1] if found else None


def _instant(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


OFFER_SQL = """
copy (
  select "SKU" as sku, "OfferTermCode" as code, "TermType" as kind, "Unit" as unit, "PricePerUnit" as price,
         "Currency" as currency, "StartingRange" as tier, "EffectiveDate" as begins, "LeaseContractLength" as lease,
         "PurchaseOption" as payment, "OfferingClass" as class, "Product Family" as family, "serviceCode" as service,
         {instance} as instance_type, {os} as os, {vcpu} as vcpu, {memory} as memory, {meter} as meter,
         "PriceDescription" as description, {processor} as processor
  from {source}
  where {only}
) to {target} (format parquet, compression zstd)
"""

MACHINE = "\"Product Family\" = 'Compute Instance'"


def offer_table(document: Path, *, region: str, day: date) -> pl.DataFrame:
    """Return the prices in a CSV offer: machines of shared tenancy without preinstalled software, and everything else.

    Raises:
        Invalid: The file has no header in line 6.
    """
    names = _header(document, METADATA_LINES)
    wanted = {"instance": "Instance Type", "os": "Operating System", "vcpu": "vCPU", "memory": "Memory"}
    wanted |= {"meter": "usageType", "processor": "Physical Processor"}
    columns = {key: f'"{name}"' if name in names else "null::varchar" for key, name in wanted.items()}
    shared = [('"Tenancy"', "Shared"), ('"Pre Installed S/W"', "NA"), ('"CapacityStatus"', "Used")]
    conditions = " and ".join(f"{name} = '{value}'" for name, value in shared if name.strip('"') in names)
    only = f"({MACHINE} is distinct from true or ({conditions}))" if conditions else "true"
    region_column = "Region Code"
    if region_column in names:
        only += f' and ("{region_column}" is null or "{region_column}" = \'{region}\')'
    raw = _query(document, OFFER_SQL, METADATA_LINES, columns | {"only": only})
    return _tidy(raw, region, day)


def _header(document: Path, skip: int) -> list[str]:
    import csv

    with document.open(encoding="utf-8", errors="replace", newline="") as file:
        for _ in range(skip):
            file.readline(1_000_000)
        names = next(csv.reader([file.readline(1_000_000)]), [])
    if "SKU" not in names:
        raise Invalid("This is no price list of AWS: line 6 is no header.", "Download the CSV offer again.")
    return names


def _query(document: Path, sql: str, skip: int, parts: Mapping[str, str]) -> pl.DataFrame:
    import duckdb

    with tempfile.TemporaryDirectory(prefix="bursar-offer-") as scratch:
        target = Path(scratch) / "offer.parquet"
        options = f"skip={skip}, header=true, all_varchar=true, delim=',', quote='\"', buffer_size={BUFFER_BYTES}"
        source = f"read_csv({_text(document)}, {options})"
        config: dict[str, str | int | bool | float | list[str]] = {
            "memory_limit": f"{MEMORY_MB}MB",
            "threads": 1,
            "temp_directory": scratch,
            "preserve_insertion_order": False,
        }
        connection = duckdb.connect(config=config)
        try:
            connection.execute(sql.format(**parts, source=source, target=_text(target)))
        except duckdb.Error as error:
            message = str(error).splitlines()[0][:200]
            raise Invalid(f"The price list cannot be read: {message}", "Download it again.") from error
        finally:
            connection.close()
        return pl.read_parquet(target)


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _tidy(raw: pl.DataFrame, region: str, day: date) -> pl.DataFrame:
    typed = raw.with_columns(
        pl.col("price").cast(DECIMAL, strict=False),
        pl.col("begins").str.slice(0, 10).str.to_date(strict=False),
        pl.when(pl.col("tier").is_in(["", "Inf"]))
        .then(None)
        .otherwise(pl.col("tier"))
        .cast(DECIMAL, strict=False)
        .alias("tier"),
        pl.col("lease").str.extract(r"^(\d)", 1).cast(pl.Int64, strict=False).alias("years"),
    ).filter(pl.col("price").is_not_null() & pl.col("sku").is_not_null())
    demand = typed.filter(pl.col("kind") == "OnDemand").with_columns(term=pl.lit("on_demand"))
    reserved = _reserved(typed.filter((pl.col("kind") == "Reserved") & pl.col("years").is_not_null()))
    whole = pl.concat([demand.select(reserved.columns), reserved])
    arm = pl.col("processor").str.contains("(?i)graviton|arm")
    machine = pl.col("instance_type").is_not_null()
    return whole.select(
        provider=pl.lit("aws"),
        service=pl.col("service"),
        sku=pl.col("sku"),
        region=pl.lit(region),
        family=pl.col("family"),
        instance_type=pl.col("instance_type"),
        os=pl.when(machine).then(pl.col("os").str.to_lowercase().fill_null("linux")),
        arch=pl.when(machine).then(
            pl.when(arm.fill_null(value=False)).then(pl.lit("arm64")).otherwise(pl.lit("x86_64"))
        ),
        vcpu=pl.col("vcpu").cast(pl.Float64, strict=False),
        memory_gib=pl.col("memory").str.extract(r"^([\d.]+) GiB$", 1).cast(pl.Float64, strict=False),
        meter=pl.col("meter"),
        unit=pl.col("unit").fill_null("Quantity"),
        term=pl.col("term"),
        currency=pl.col("currency").fill_null("USD"),
        tier_start=pl.col("tier").fill_null(0),
        price=pl.col("price"),
        valid_from=pl.col("begins"),
        valid_to=pl.lit(None, pl.Date),
        seen_on=pl.lit(day),
        source=pl.lit("aws-price-list"),
        description=pl.col("description"),
    ).cast(SCHEMA)


def _reserved(rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row per reserved term: hourly price plus the upfront spread over the hours of the term."""
    hourly = pl.col("unit").str.to_lowercase().is_in(["hrs", "hours"])
    kept = [name for name in rows.columns if name not in {"sku", "code", "unit", "price", "tier", "years"}]
    grouped = rows.group_by("sku", "code", "years", maintain_order=True).agg(
        pl.col("price").filter(hourly).max().alias("hourly"),
        pl.col("price").filter(~hourly).max().alias("upfront"),
        *(pl.col(name).first() for name in kept),
    )
    words = pl.concat_str(
        [
            pl.lit("reserved_"),
            pl.col("years"),
            pl.lit("y_"),
            pl.col("payment").str.to_lowercase().str.replace_all(" ", "_"),
        ]
    )
    convertible = pl.when(pl.col("class") == "convertible").then(pl.lit("_convertible")).otherwise(pl.lit(""))
    spread = pl.col("upfront").fill_null(0) / (pl.col("years") * HOURS_A_YEAR).cast(DECIMAL)
    return grouped.with_columns(
        term=pl.concat_str([words, convertible]),
        price=(pl.col("hourly").fill_null(0) + spread).cast(DECIMAL),
        unit=pl.lit("Hrs"),
        tier=pl.lit(0).cast(DECIMAL),
    ).drop("hourly", "upfront")


SAVINGS_SQL = """
copy (
  select "DiscountedSKU" as sku, "DiscountedRate" as price, "Currency" as currency, "Unit" as unit,
         "EffectiveDate" as begins, "LeaseContractLength" as lease, "PurchaseOption" as payment,
         "DiscountedServiceCode" as service, "DiscountedUsageType" as meter,
         "DiscountedInstanceType" as instance_type, "DiscountedOperation" as operation, "Description" as description
  from {source}
  where "DiscountedRegionCode" = {region}
) to {target} (format parquet, compression zstd)
"""

OPERATING_SYSTEMS = {
    "RunInstances": "linux",
    "RunInstances:0002": "windows",
    "RunInstances:0010": "rhel",
    "RunInstances:000g": "suse",
}
"""Operation code of EC2 to operating system (docs.aws.amazon.com, AMI billing information fields)."""


def savings_table(document: Path, *, region: str, day: date) -> pl.DataFrame:
    """Return the prices in a savings-plan CSV; its rates are per hour of usage."""
    _header(document, METADATA_LINES)
    raw = _query(document, SAVINGS_SQL, METADATA_LINES, {"region": f"'{region}'"})
    payment = pl.col("payment").str.to_lowercase().str.replace_all(" ", "_")
    machine = pl.col("instance_type").is_not_null()
    return (
        raw.with_columns(pl.col("price").cast(DECIMAL, strict=False))
        .filter(pl.col("price").is_not_null() & pl.col("sku").is_not_null())
        .select(
            provider=pl.lit("aws"),
            service=pl.col("service"),
            sku=pl.col("sku"),
            region=pl.lit(region),
            family=pl.lit("Savings Plan"),
            instance_type=pl.col("instance_type"),
            os=pl.when(machine).then(pl.col("operation").replace_strict(OPERATING_SYSTEMS, default=None)),
            arch=pl.lit(None, pl.String),
            vcpu=pl.lit(None, pl.Float64),
            memory_gib=pl.lit(None, pl.Float64),
            meter=pl.col("meter"),
            unit=pl.col("unit").fill_null("Hrs"),
            term=pl.concat_str(
                [pl.lit("savings_plan_"), pl.col("lease").str.extract(r"^(\d)", 1), pl.lit("y_"), payment]
            ),
            currency=pl.col("currency").fill_null("USD"),
            tier_start=pl.lit(0),
            price=pl.col("price"),
            valid_from=pl.col("begins").str.slice(0, 10).str.to_date(strict=False),
            valid_to=pl.lit(None, pl.Date),
            seen_on=pl.lit(day),
            source=pl.lit("aws-savings-plans"),
            description=pl.col("description"),
        )
        .cast(SCHEMA)
    )
