"""Requests per CPU-second of an authenticated one-row read, against a bare FastAPI + psycopg route in the same run.

Ours is the whole application as it is shipped: `GET /v1/organisation` with an API key: request id, authentication, rate
limit, right, a transaction confined by row-level security, ETag, security headers, log line, metrics. The peer reads the
same row with psycopg's pool from one bare route: no authentication, no limit, no log. Both run in processes of their own on
loopback under uvicorn (uvloop, httptools); rounds alternate; CPU is what the server process itself used (user + system).
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

# ruff: noqa: A005  the figure is about HTTP; the folder is taken off the import path before anything imports http


import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from benchmarks._figures import arguments, figure, finish, table

TARGET = 0.6
CONNECTIONS = 8
ROUNDS, REQUESTS = 7, 6_000
QUICK_ROUNDS, QUICK_REQUESTS = 3, 1_500
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server answers and what it is asked."""

    name: str
    port: int
    pid: int
    request: bytes


def cpu_s(pid: int) -> float:
    """Return the CPU seconds (user and system) that a process has used, from Linux's /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(port: int, request: bytes, number: int) -> None:
    """Send ``number`` requests over one kept connection; each must be answered with 200."""
    with socket.create_connection(("127.0.0.1", port)) as link, link.makefile("rb") as answer:
        for _ in range(number):
            link.sendall(request)
            status = answer.readline()
            if b" 200 " not in status:
                raise RuntimeError(status + answer.read(2_000))
            length = 0
            while (line := answer.readline()) != b"\r\n":
                if line[:15].lower() == b"content-length:":
                    length = int(line[15:])
            answer.read(length)


def load(place: Place, number: int) -> None:
    """Send ``number`` requests over :data:`CONNECTIONS` connections at once."""
    faults: list[BaseException] = []

    def work() -> None:
        try:
            ask(place.port, place.request, number // CONNECTIONS)
        except (OSError, RuntimeError) as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if faults:
        raise faults[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(name: str, path: str, headers: str, environment: dict[str, str]) -> Iterator[Place]:
    """Run this file as one of the two servers until the block ends."""
    port = free_port()
    command = [sys.executable, __file__, "--serve", name, "--port", str(port)]
    with subprocess.Popen(command, env={"PATH": os.defpath, **environment}, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + START_S
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > end:
                        message = f"the server {name} did not start"
                        raise RuntimeError(message) from None
                    time.sleep(0.1)
            request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n".encode()
            yield Place(name, port, process.pid, request)
        finally:
            process.terminate()
            process.wait()


def serve_bare(port: int) -> None:
    """Serve the peer: one FastAPI route, one psycopg pool."""
    import uvicorn
    from fastapi import FastAPI
    from psycopg_pool import AsyncConnectionPool
    from pydantic import BaseModel

    pool = AsyncConnectionPool(os.environ["BENCH_URL"], min_size=8, max_size=8, open=False)  # noqa: TID251

    class Organisation(BaseModel):
        id: UUID
        name: str
        created_at: datetime
        local: bool
        erased_after: datetime | None

    @asynccontextmanager
    async def opened(_: FastAPI) -> AsyncIterator[None]:
        async with pool:
            yield

    app = FastAPI(lifespan=opened)

    @app.get("/organisation/{key}")
    async def show(key: UUID) -> Organisation:
        async with pool.connection() as conn:
            cursor = await conn.execute(
                "select id, name, created_at, is_local, purge_after from identity_organisation where id = %s", (key,)
            )
            row = await cursor.fetchone()
        assert row is not None
        return Organisation(id=row[0], name=row[1], created_at=row[2], local=row[3], erased_after=row[4])

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, loop="uvloop", http="httptools")


def serve_ours(port: int) -> None:
    """Serve the whole application, logs included (they go to standard error)."""
    import uvicorn

    from bursar import wiring
    from bursar.infra import log
    from bursar.infra.web_server import Server
    from bursar.settings import load as load_settings

    async def run() -> None:
        log.configure(level="INFO")
        async with wiring.open_house(load_settings(base_url=f"http://127.0.0.1:{port}")) as house:
            config = uvicorn.Config(
                wiring.app(house), host="127.0.0.1", port=port, log_config=None, access_log=False, proxy_headers=False
            )
            await Server(config).serve()

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def prepared(home: Path, url: str) -> tuple[UUID, str]:
    """Migrate, make an organisation with an API key and return its id and the key."""
    from bursar.core.identity import service as identity
    from bursar.core.identity.keys import service as keys
    from bursar.infra.clock import utc_now
    from bursar.infra.db import Database

    del home
    db = Database(url)
    async with db.system("benchmark", write=True) as tx:
        owner = await identity.local_owner(tx, loopback=True, embedded=True, now=utc_now())
    async with db.writing(owner) as tx:
        _, key = await keys.make(
            tx, owner, name="benchmark", scopes=["organisation:read"], networks=(), days=1, now=utc_now()
        )
    await db.close()
    return owner.org, key


def main() -> None:
    options = arguments(__doc__)
    rounds, requests = (QUICK_ROUNDS, QUICK_REQUESTS) if options.quick else (ROUNDS, REQUESTS)
    from bursar.infra.embedded_postgres import ADMIN, APP, OWNER, EmbeddedPostgres
    from bursar.infra.migrate import migrate

    home = Path(tempfile.mkdtemp(prefix="bursar-bench-"))
    home.chmod(0o755)
    with EmbeddedPostgres(home) as postgres:
        asyncio.run(migrate(postgres.url(OWNER)))
        org, key = asyncio.run(prepared(home, postgres.url(APP)))
        plain = postgres.url(ADMIN).replace("+psycopg", "")
        ours_needs = {
            "BURSAR_HOME": str(home),
            "BURSAR_DATABASE_URL": postgres.url(APP),
            "BURSAR_STAGE": "test",
            "BURSAR_LOCAL_OWNER": "false",
            "BURSAR_WORKER_INSIDE": "false",
            "BURSAR_KEY_PER_MINUTE": "10000000",
            "BURSAR_SECRET": "benchmark " * 8,
        }
        sign = f"Authorization: Bearer {key}\r\n"
        with (
            server("bare", f"/organisation/{org}", "", {"BENCH_URL": plain}) as bare,
            server("ours", "/v1/organisation", sign, ours_needs) as ours,
        ):
            rates: dict[str, list[float]] = {"bare": [], "ours": []}
            for place in (bare, ours):
                load(place, requests)  # warm: plans, pools, caches
            for _ in range(rounds):
                for place in (bare, ours):
                    before = cpu_s(place.pid)
                    load(place, requests)
                    rates[place.name].append(requests / (cpu_s(place.pid) - before))
    middle = {name: statistics.median(each) for name, each in rates.items()}
    ratio = statistics.median(ours / bare for ours, bare in zip(rates["ours"], rates["bare"], strict=True))
    rows = [
        (name, round(middle[name]), round(min(each)), round(max(each)), round(1e6 / middle[name]))
        for name, each in rates.items()
    ]
    table(rows, head=("server", "requests/CPU-s", "lowest", "highest", "us/request"))
    finish(
        figure(
            "http: one-row read, requests per CPU-second, ours / bare", ratio, "ratio", target=TARGET, better="higher"
        )
    )


if __name__ == "__main__":
    if "--serve" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--serve", choices=("bare", "ours"))
        parser.add_argument("--port", type=int)
        chosen = parser.parse_args()
        (serve_bare if chosen.serve == "bare" else serve_ours)(chosen.port)
    else:
        main()
