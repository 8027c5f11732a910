"""The clock, read only at the edge (handlers, jobs, commands) and passed down as ``now``."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the current instant, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251  the one reader of the clock
