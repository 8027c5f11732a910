"""What the tests of cloud share."""

import time

import pytest

from bursar.connectors.prices.libcloud_pack import default_prices
from bursar.parts.cloud.prices.service import PriceList


@pytest.fixture(scope="session")
def prices(tmp_path_factory: pytest.TempPathFactory) -> PriceList:
    """The prices of a fresh installation."""
    return PriceList(tmp_path_factory.mktemp("prices"), default=default_prices, clock=time.monotonic)
