"""``bursar up`` and ``bursar work``."""

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import click

from bursar.cli import running
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.wiring import House

DRAIN_S = 10
"""How long open requests get to finish when the server stops, in seconds."""


@click.command()
@click.option("--host", default=None, help="Address to listen on.")
@click.option("--port", type=int, default=None, help="Port to listen on; 0 takes a free one.")
@click.option("--reload", is_flag=True, help="Start again when the source changes (development).")
def up(host: str | None, port: int | None, reload: bool) -> int:
    """Serve the API, the report and the jobs until interrupted."""
    if reload:
        return _reloading(host, port)
    running.in_house(serve, host=host, port=port)
    return OK


async def serve(house: "House") -> None:
    """Serve an open house until the process is asked to stop; prints the address once it answers."""
    import socket

    import uvicorn

    from bursar import wiring
    from bursar.infra import log
    from bursar.infra.web_server import Server

    settings = house.settings
    log.configure(level="DEBUG" if settings.debug else "INFO")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        from bursar.kernel.errors import Invalid

        raise Invalid(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}.",
            "Choose another port with `--port`; 0 takes a free one.",
        ) from error
    port = listener.getsockname()[1]
    if not settings.base_url:
        house = wiring.reached_at(house, f"http://{settings.host}:{port}")
    server = Server(
        uvicorn.Config(
            wiring.app(house),
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=DRAIN_S,
        ),
        drain_s=settings.drain_seconds,
    )
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn sets a flag, not an event
        await asyncio.sleep(0.02)
    if server.started:
        running.talk(f"Bursar is at {house.settings.url}   (API: {house.settings.url}/docs, stop with Ctrl+C)")
    await serving


def _reloading(host: str | None, port: int | None) -> int:
    """Run ``bursar up`` in a child that is started again whenever a source file changes."""
    import sys
    from pathlib import Path

    from watchfiles import run_process

    options = [*(["--host", host] if host else []), *(["--port", str(port)] if port is not None else [])]
    command = " ".join([sys.executable, "-m", "bursar.cli", "up", *options])
    run_process(Path(__file__).parents[1], target=command, target_type="command")
    return OK


@click.command()
def work() -> int:
    """Run jobs only, until interrupted; any number of workers may run on one database."""

    async def use(house: "House") -> None:
        from bursar.infra import log
        from bursar.infra.jobs_worker import run_worker
        from bursar.wiring import tools

        log.configure(level="DEBUG" if house.settings.debug else "INFO")
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(name, stop.set)
        running.talk("Working; stop with Ctrl+C")
        given = tools.tools(house)
        await run_worker(house.db, tools.JOBS, stop, tools=given.each(house))
        await given.notices.client.close()

    running.in_house(use)
    return OK
