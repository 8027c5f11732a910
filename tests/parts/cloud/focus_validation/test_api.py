"""FOCUS validation over HTTP."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from bursar.infra.db import Database
from bursar.infra.metrics import Metrics
from bursar.infra.web import create_app
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotSignedIn
from bursar.parts.cloud.focus_validation import api
from bursar.reports.sample.model import Notebook, Span
from bursar.reports.sample.vendors import write_saas
from bursar.reports.sample.write import END
from tests.infra.webapp import SETTINGS, client_of

LIMIT = 100_000


async def authenticate(
    db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
) -> Actor:
    """Take the bearer text for who asks."""
    if authorization is None:
        raise NotSignedIn
    rights = frozenset({"cloud:read"}) if authorization.endswith("reader") else frozenset[str]()
    return Actor(UUID(int=1), "person:one", rights)


@pytest.fixture
def file(tmp_path: Path) -> bytes:
    write_saas(Span(END, 24), Notebook(), tmp_path)
    return (tmp_path / "cloud/signalgrid-focus-1.2.csv").read_bytes()


@pytest.fixture
async def reader(db: Database, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    routes = api.routes(tmp_path / "scratch", upload_bytes_max=LIMIT)
    app = create_app(SETTINGS, db, [routes], authenticate, metrics=Metrics())
    async with client_of(app, "reader") as client:
        yield client


async def test_a_conforming_file_conforms_and_is_not_kept(
    reader: httpx2.AsyncClient, file: bytes, tmp_path: Path
) -> None:
    answer = await reader.post("/v1/cloud/focus/validations", content=file, params={"name": "bill.csv"})

    report = answer.json()
    assert answer.status_code == 200
    assert (report["conforms"], report["violations"], report["file"]) == (True, [], "bill.csv")
    assert report["decided"] >= 600
    assert sum(report["rules"].values()) == 621
    assert left(tmp_path / "scratch") == []


def left(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_violation_names_rule_rows_value_and_repair(reader: httpx2.AsyncClient, file: bytes) -> None:
    broken = file.replace(b",Usage,,", b",Usages,,", 1)

    report = (await reader.post("/v1/cloud/focus/validations", content=broken)).json()

    found = next(item for item in report["violations"] if item["rule"] == "ChargeCategory-C-003-M")
    assert (found["rows"], found["count"], found["example"]) == ([2], 1, "Usages")
    assert found["repair"].startswith("Write one of: Usage, Purchase")
    assert report["conforms"] is False


@pytest.mark.parametrize(
    ("params", "body", "status"),
    [
        ({}, b"", 422),
        ({}, b"no table", 422),
        ({"version": "0.1"}, b"A,B\n1,2\n", 404),
        ({"supports": "NOTHING"}, b"A,B\n1,2\n", 422),
        ({"name": "../../etc/x"}, b"A,B\n1,2\n", 422),
        ({}, b"x" * (LIMIT + 1), 413),
    ],
)
async def test_what_cannot_be_validated_is_refused(
    reader: httpx2.AsyncClient, params: dict[str, str], body: bytes, status: int
) -> None:
    answer = await reader.post("/v1/cloud/focus/validations", content=body, params=params)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_file_named_like_a_folder_is_read(reader: httpx2.AsyncClient, file: bytes) -> None:
    answer = await reader.post("/v1/cloud/focus/validations", content=file, params={"name": ".."})

    assert answer.status_code == 200


async def test_versions_are_listed(reader: httpx2.AsyncClient) -> None:
    assert (await reader.get("/v1/cloud/focus/versions")).json() == {"data": ["1.2"]}


async def test_validating_needs_the_right(db: Database, tmp_path: Path) -> None:
    routes = api.routes(tmp_path / "scratch", upload_bytes_max=LIMIT)
    app = create_app(SETTINGS, db, [routes], authenticate, metrics=Metrics())
    async with client_of(app, "nobody") as nobody, client_of(app) as stranger:
        assert (await nobody.post("/v1/cloud/focus/validations", content=b"x")).status_code == 403
        assert (await stranger.post("/v1/cloud/focus/validations", content=b"x")).status_code == 401
