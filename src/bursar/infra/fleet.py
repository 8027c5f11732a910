"""Pure work on bytes, spread out: over processes of this machine, or over a Spark Connect server; equal answers.

The work is a function of the product, named by its module, so a Spark server needs the same version installed. What it
takes and gives are bytes: the same bytes in give the same bytes out wherever it runs.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from bursar.infra.lake_query import SPARK_PREFIX, spark_session
from bursar.infra.sandbox_zygote import die_with_parent
from bursar.kernel.errors import Unavailable

Work = Callable[[bytes], bytes]
"""A function at the top of a module."""

SPARK_BATCH_BYTES = 64 * 1024 * 1024
"""What goes to the Spark server in one message; a part larger than this goes alone."""


class Fleet:
    """Where parts are computed.

    Args:
        engine: ``sc://host:port`` of a Spark Connect server; anything else is this machine.
        processes: Of this machine; by default one for each processor that may be used.
    """

    def __init__(self, engine: str = "duckdb", *, processes: int | None = None) -> None:
        self.engine = engine
        self.processes = processes or len(os.sched_getaffinity(0))

    async def run(self, work: Work, contents: Sequence[bytes]) -> AsyncIterator[tuple[int, bytes]]:
        """Do ``work`` on every content; yield its place and what came of it as soon as it is there.

        One content alone is worked on in this process. Whatever ``work`` raises is raised here.

        Raises:
            Unavailable: The Spark server does not answer, or failed.
        """
        if self.engine.startswith(SPARK_PREFIX):
            for places in _batches(contents):
                made = await asyncio.to_thread(_on_spark, self.engine, work, {at: contents[at] for at in places})
                for place, content in made:
                    yield place, content
        elif len(contents) == 1 or self.processes == 1:
            for place, content in enumerate(contents):
                yield place, await asyncio.to_thread(work, content)
        else:
            async for pair in self._in_processes(work, contents):
                yield pair

    async def _in_processes(self, work: Work, contents: Sequence[bytes]) -> AsyncIterator[tuple[int, bytes]]:
        loop = asyncio.get_running_loop()
        workers = min(self.processes, len(contents))
        pool = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=die_with_parent, initargs=(os.getpid(),)
        )
        try:
            running = [
                asyncio.ensure_future(_placed(place, loop.run_in_executor(pool, work, content)))
                for place, content in enumerate(contents)
            ]
            try:
                for done in asyncio.as_completed(running):
                    yield await done
                await asyncio.to_thread(
                    pool.shutdown
                )  # nothing runs any more; the processes end before the caller goes on
            finally:
                for one in running:
                    one.cancel()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


async def _placed(place: int, result: asyncio.Future[bytes]) -> tuple[int, bytes]:
    return place, await result


def _batches(contents: Sequence[bytes]) -> list[list[int]]:
    """Cut into runs of neighbours that together are at most :data:`SPARK_BATCH_BYTES`."""
    out: list[list[int]] = []
    size = 0
    for place, content in enumerate(contents):
        if not out or size + len(content) > SPARK_BATCH_BYTES:
            out.append([])
            size = 0
        out[-1].append(place)
        size += len(content)
    return out


def _applied(work: Work, frame: Any) -> Any:
    """Do the work on the rows that Spark gives to one of its workers."""
    return frame.assign(content=[work(bytes(content)) for content in frame["content"]])


def _on_spark(url: str, work: Work, contents: dict[int, bytes]) -> list[tuple[int, bytes]]:
    """Give each part to a worker of the Spark server and wait for all."""
    session = spark_session(url)
    import pandas as pd

    frame = pd.DataFrame({"part": list(contents), "content": list(contents.values())})
    schema = "part bigint, content binary"
    try:
        made = (
            session.createDataFrame(frame, schema)
            .groupBy("part")
            .applyInPandas(lambda rows: _applied(work, rows), schema)
            .toArrow()
            .to_pydict()
        )
    except Exception as error:  # the client raises a different class for every way to fail
        raise Unavailable(f"the work on the Spark server at {url} ({str(error)[:300]})") from error
    return list(zip(made["part"], map(bytes, made["content"]), strict=True))
