"""A durable server of its own for each fault test: nothing is switched off."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bursar.infra.embedded_postgres import OWNER, EmbeddedPostgres
from bursar.infra.migrate import migrate
from tests.infra.probe import make_tables


@pytest.fixture
def durable() -> Iterator[EmbeddedPostgres]:
    """A migrated server with its full durability and the probe's tables."""
    home = Path(tempfile.mkdtemp(prefix="bursar-kill-"))
    home.chmod(0o755)
    try:
        with EmbeddedPostgres(home) as server:
            asyncio.run(migrate(server.url(OWNER)))
            make_tables(server.url(OWNER))
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)
