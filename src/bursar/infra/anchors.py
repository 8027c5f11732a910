"""Evidence kept outside of the database: for each name the latest record, and the last one of every day."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson


class Anchors:
    """A folder of small files, each written completely or not at all.

    ``NAME.head`` holds the latest record; before a record of a new day replaces it, it is added to ``NAME.days``. Copy the
    folder to where the database's administrator cannot write, and a rewritten history gives itself away.

    Args:
        folder: Made when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, record: Mapping[str, Any], *, day: str) -> None:
        """Make ``record`` the latest of ``name``; on disk when this returns.

        Args:
            name: File name without suffix; an id, never input.
            record: JSON values.
            day: The record's day, such as ``2026-11-20``.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        latest = self._latest(name)
        if latest is not None and latest["day"] != day:
            with (self._folder / f"{name}.days").open("ab") as days:
                days.write(orjson.dumps(latest) + b"\n")
                days.flush()
                os.fsync(days.fileno())
        draft = self._folder / f"{name}.draft"
        with draft.open("wb") as file:
            file.write(orjson.dumps({"day": day, **record}) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._folder / f"{name}.head")
        _sync(self._folder)

    def records(self, name: str) -> list[Mapping[str, Any]]:
        """Return what was kept of ``name``, oldest first; a torn last line (a crash while adding) is left out."""
        days = self._folder / f"{name}.days"
        lines = days.read_bytes().splitlines(keepends=True) if days.exists() else []
        kept = [orjson.loads(line) for line in lines if line.endswith(b"\n")]
        latest = self._latest(name)
        return kept + ([latest] if latest is not None else [])

    def forget(self, name: str) -> None:
        """Remove everything kept of ``name`` (its organisation was erased)."""
        for suffix in ("head", "days", "draft"):
            (self._folder / f"{name}.{suffix}").unlink(missing_ok=True)

    def _latest(self, name: str) -> Mapping[str, Any] | None:
        head = self._folder / f"{name}.head"
        if not head.exists():
            return None
        record: Mapping[str, Any] = orjson.loads(head.read_bytes())
        return record


def _sync(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
