"""A served Bursar looks at what arrives by itself: a file sent over HTTP becomes findings, taken back they are gone."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bursar.reports.sample import write_sample

WITHIN_S = 120
"""Until findings follow an import, on a crowded machine; idle it takes the waiting time and a few seconds."""

SCOPES = (
    "bank:read",
    "finding:read",
    "intake:import",
    "intake:read",
    "intake:revert",
    "ledger:read",
    "transaction:read",
)


def _command(home: Path, *args: str) -> tuple[list[str], dict[str, str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}  # noqa: TID251
    return [sys.executable, "-m", "bursar.cli", *args], clean | {"BURSAR_HOME": str(home)}


@contextmanager
def served(home: Path) -> Iterator[httpx2.Client]:
    """Run ``bursar up`` on a free port; yield a client with a key of the local owner."""
    command, environment = _command(home, "up", "--port", "0")
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            told = next(line for line in server.stderr if "Bursar is at " in line)
            scopes = [part for scope in SCOPES for part in ("--scope", scope)]
            command, environment = _command(home, "key", "add", "journey", "--json", *scopes)
            made = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
            url = told.split("Bursar is at ")[1].split()[0]
            headers = {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}
            with httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
                yield client
        finally:
            server.terminate()
            server.stderr.read()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bursar-served-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


def _after(client: httpx2.Client, good: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """Ask for findings until they are as wanted; return them."""
    end_s = time.monotonic() + WITHIN_S
    while time.monotonic() < end_s:
        found: list[dict[str, Any]] = (
            client.get("/v1/findings", params={"limit": 200}).raise_for_status().json()["data"]
        )
        if good(found):
            return found
        time.sleep(0.5)
    pytest.fail(f"not so within {WITHIN_S} s: {[one['title'] for one in found]}")


def test_an_upload_becomes_findings_and_taking_it_back_ends_them(folder: Path) -> None:
    write_sample(folder / "exports", seed=7)
    (folder / "home").mkdir(mode=0o755)
    bank = sorted((folder / "exports").glob("**/bank/*"))
    with served(folder / "home") as client:
        batches = [
            batch
            for path in bank
            for batch in client.post("/v1/imports", params={"name": path.name}, content=path.read_bytes())
            .raise_for_status()
            .json()
        ]
        found = _after(client, bool)
        for batch in batches:
            client.delete(f"/v1/imports/{batch['id']}").raise_for_status()
        _after(client, lambda left: not left)

    assert {batch["state"] for batch in batches} == {"imported"}
    assert any(one["kind"].startswith("banking.") for one in found), found


READ = ("/v1/findings", "/v1/transactions", "/v1/cash", "/v1/bank/reconciliation", "/v1/books/trial-balance")


def test_the_same_statements_from_many_at_once_are_taken_once_while_others_read(folder: Path) -> None:
    write_sample(folder / "exports", seed=7)
    (folder / "home").mkdir(mode=0o755)
    bank = sorted((folder / "exports").glob("**/bank/*"))
    with served(folder / "home") as client, ThreadPoolExecutor(12) as pool:
        sent = [
            pool.submit(client.post, "/v1/imports", params={"name": path.name}, content=path.read_bytes())
            for path in bank * 4
        ]
        read = [pool.submit(client.get, path) for path in READ * 3]
        imported = [batch for one in sent for batch in one.result().raise_for_status().json()]
        answers = {one.result().status_code for one in read}
        account = (
            client.get("/v1/imports", params={"limit": 200, "state": "imported"}).raise_for_status().json()["data"]
        )

    first = [batch for batch in imported if not batch["already"]]
    assert answers == {200}
    assert sorted(batch["id"] for batch in first) == sorted(batch["id"] for batch in account)
    assert len(imported) == 4 * len(first)
    assert all(batch["rows_taken"] + batch["rows_known"] == batch["rows_read"] > 0 for batch in first)
