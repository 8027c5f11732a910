"""Fixtures of identity."""

from collections.abc import Iterator

import pytest

from bursar.infra.db import Database
from tests.core.identity.house import House, cheap_means


@pytest.fixture
def house(db: Database) -> Iterator[House]:
    means = cheap_means()
    yield House(db, means)
    means.passwords.close()
