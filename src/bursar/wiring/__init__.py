"""The only place that knows every part: explicit lists, and how the pieces of a running Bursar are put together.

``house`` is the database, the lake and the importer; ``advice`` the main job; ``tools`` the jobs and what they get; ``http`` the
application. The HTTP side is imported only when it is served.
"""

from typing import TYPE_CHECKING

from bursar.wiring.advice import FINDING_KINDS, PAID, advise, report, review, standing
from bursar.wiring.house import House, keyring_of, local_actor, open_house, producer, reached_at, tracer

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = [
    "FINDING_KINDS",
    "PAID",
    "House",
    "advise",
    "app",
    "keyring_of",
    "local_actor",
    "open_house",
    "producer",
    "reached_at",
    "report",
    "review",
    "standing",
    "tracer",
]


def app(house: House) -> "FastAPI":
    """Return the HTTP application of an open house."""
    from bursar.wiring import http

    return http.app(house)
