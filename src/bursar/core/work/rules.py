"""What a job of an organisation looks like."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

KEEP_DONE_DAYS = 7
"""Finished jobs are forgotten after this."""

KEEP_DEAD_DAYS = 90
"""Dead ones after this, so that somebody can look."""

FORGET_MAX = 1000
"""Jobs forgotten by one pass."""


class State(StrEnum):
    """Where a job is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in {State.DONE, State.DEAD, State.CANCELLED}


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of a job, numbered from 1 within it."""

    seq: int
    at: datetime
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One job.

    Attributes:
        id: Its id.
        name: ``feature.verb``.
        state: Where it is.
        attempts: Runs so far.
        enqueued_at: When it was queued.
        enqueued_by: By whom.
        not_before: When it runs at the earliest, if it waits for an instant.
        done_at: When it was done.
        progress: The latest progress: done, total, note.
        error: What the latest failed run said.
        result: What the job returned.
    """

    id: UUID
    name: str
    state: State
    attempts: int
    enqueued_at: datetime
    enqueued_by: str
    not_before: datetime | None
    done_at: datetime | None
    progress: Mapping[str, Any] | None
    error: str | None
    result: Any
