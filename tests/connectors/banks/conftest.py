from collections.abc import Callable

import pytest

from bursar.kernel.connector import Head


@pytest.fixture
def head() -> Callable[[str], Head]:
    return lambda content: Head("x", content.encode(), len(content.encode()))
