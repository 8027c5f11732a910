"""Facts for planning: bills written as FOCUS files and imported for real."""

from collections.abc import AsyncIterator, Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import httpx2
import numpy as np
import pytest

from bursar.core.intake.jobs import Importer
from bursar.core.planning import api
from bursar.core.planning.commitments.service import Paid
from bursar.infra.db import Database
from bursar.infra.files import LocalFiles
from bursar.infra.lake import Lake
from bursar.infra.metrics import Metrics
from bursar.infra.sandbox import Sandbox
from bursar.infra.web import WebSettings, create_app
from bursar.kernel.actor import Actor
from bursar.kernel.lines import BANK_LINES, COST_LINES, PAYMENT_LINES

HEAD = (
    "BilledCost,EffectiveCost,ListCost,ContractedCost,BillingAccountId,BillingCurrency,BillingPeriodStart,"
    "BillingPeriodEnd,ChargeCategory,ChargePeriodStart,ChargePeriodEnd,ProviderName,ServiceName,ResourceId,RegionId"
)
LEAVES = (
    ("AWS", "acct-1", "Amazon EC2", "r-1", "eu-west-1", 100.0),
    ("AWS", "acct-1", "Amazon S3", "r-2", "eu-west-1", 20.0),
    ("AWS", "acct-2", "Amazon EC2", "r-3", "us-east-1", 55.0),
    ("Microsoft", "sub-1", "Virtual Machines", "r-4", "westeurope", 70.0),
    ("Microsoft", "sub-1", "Storage Accounts", "r-5", "westeurope", 9.0),
)
"""Provider, account, service, resource, region and daily level of each series."""

Amounts = Callable[[date, float], str]


def usual(day: date, level: float) -> str:
    """Return a weekly pattern around a level with a little noise that only depends on day and level."""
    rng = np.random.default_rng(day.toordinal() * 1000 + int(level))
    return f"{level * (0.8 if day.weekday() >= 5 else 1.0) * (1 + 0.05 * rng.standard_normal()):.4f}"


def bill(
    path: Path, first: date, last: date, *, amounts: Amounts = usual, currency: str = "USD", only: str = ""
) -> Path:
    """Write one FOCUS bill with a usage row for each leaf (of a provider or account) and day from ``first`` to ``last``."""
    rows = []
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        begins = day.replace(day=1)
        ends = (begins + timedelta(days=32)).replace(day=1)
        for provider, account, service, resource, region, level in LEAVES:
            if only and only not in {provider, account}:
                continue
            cost = amounts(day, level)
            rows.append(
                f"{cost},{cost},{cost},{cost},{account},{currency},{begins}T00:00:00Z,{ends}T00:00:00Z,Usage,"
                f"{day}T00:00:00Z,{day}T23:00:00Z,{provider},{service},{resource},{region}"
            )
    path.write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
async def importer(db: Database, lake: Lake, tmp_path: Path) -> AsyncIterator[Importer]:
    sandbox = Sandbox(warm=("bursar.connectors.formats",))
    yield Importer(
        db=db,
        lake=lake,
        documents=LocalFiles(tmp_path / "files", free_bytes_min=0),
        sandbox=sandbox,
        parser="bursar.connectors.formats:parse_in_child",
        schemas={schema.name: schema for schema in (COST_LINES, BANK_LINES, PAYMENT_LINES)},
        scratch=tmp_path / "tmp",
        quarantine=tmp_path / "quarantine",
    )
    await sandbox.close()


@pytest.fixture
async def client(db: Database, actor: Actor, lake: Lake) -> AsyncIterator[httpx2.AsyncClient]:
    async def gate(
        db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
    ) -> Actor:
        return actor

    settings = WebSettings(
        version="1", base_url="http://test", cursor_key=b"k" * 32, anonymous_per_min=10_000, login_per_min=10_000
    )
    app = create_app(settings, db, list(api.routes(lake, Paid())), gate, metrics=Metrics())
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://test", headers={"Authorization": "Bearer x"}
    ) as made:
        yield made
