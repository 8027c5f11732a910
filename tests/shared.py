"""Where the real public input lies: ``shared/data`` beside the checkout; a test that needs it skips where it is absent."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(relative: str) -> Path:
    """Return the path of a real input file or folder; skip the test with a reason where it is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"real input shared/data/{relative} is not beside this checkout")
    return path
