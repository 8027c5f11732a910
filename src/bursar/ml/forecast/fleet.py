"""A panel of any size as parts that are computed anywhere: bytes in, bytes out, the same on every machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain
from bursar.kernel.series import Panel
from bursar.ml.calendar import Calendar
from bursar.ml.forecast.keeping import Kept
from bursar.ml.forecast.naive import SeasonalNaive
from bursar.ml.forecast.panel import fit_panel
from bursar.ml.registry import array_text, pack_arrays, text_array, unpack_arrays

PART_SERIES = 2_000
"""Series of one part, whatever the number of processes: the cut must not depend on the machine."""

_SEPARATOR = "\0"


@dataclass(frozen=True, slots=True)
class Task:
    """One part of a panel and what to do with it.

    Attributes:
        panel: Its series.
        horizon: Periods ahead.
        calendar: Country and events.
        seed: Of everything random.
        kept: What :meth:`~bursar.ml.forecast.keeping.Kept.pack` wrote; empty to train.
        baseline: Whether the baseline alone serves.
        extras: Names of further models that compete in a training.
    """

    panel: Panel
    horizon: int
    calendar: Calendar
    seed: int
    kept: bytes = b""
    baseline: bool = False
    extras: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """Write it as arrays of numbers."""
        one, known = self.panel, self.calendar
        events = [name for name, _ in known.events]
        days = [np.array(when, dtype="datetime64[D]").astype(np.int64) for _, when in known.events]
        texts = [one.grain.value, one.currency, known.country, known.subdivision, *events]
        return pack_arrays(
            {
                "keys": text_array(_SEPARATOR.join(one.keys)),
                "starts": one.starts.astype(np.int64),
                "values": one.values,
                "indptr": one.indptr,
                "texts": text_array(_SEPARATOR.join(texts)),
                "numbers": np.array([self.horizon, self.seed, int(self.baseline)], dtype=np.int64),
                "days": np.concatenate(days) if days else np.empty(0, dtype=np.int64),
                "day_counts": np.array([len(when) for when in days], dtype=np.int64),
                "kept": np.frombuffer(self.kept, dtype=np.uint8),
                "extras": text_array(_SEPARATOR.join(self.extras)),
            }
        )

    @classmethod
    def unpack(cls, content: bytes) -> "Task":
        """Read what :meth:`pack` wrote.

        Raises:
            Invalid: It is something else.
        """
        arrays = unpack_arrays(content)
        try:
            grain, currency, country, subdivision, *names = array_text(arrays["texts"]).split(_SEPARATOR)
            panel = Panel(
                tuple(array_text(arrays["keys"]).split(_SEPARATOR)),
                arrays["starts"].astype("datetime64[h]"),
                arrays["values"],
                arrays["indptr"],
                Grain(grain),
                currency,
            )
            horizon, seed, baseline = arrays["numbers"].tolist()
            cuts = np.cumsum(arrays["day_counts"])[:-1]
            days = np.split(arrays["days"].astype("datetime64[D]"), cuts)
            events = tuple((name, _dates(when)) for name, when in zip(names, days, strict=False))
            kept = arrays["kept"].tobytes()
            extras = tuple(name for name in array_text(arrays["extras"]).split(_SEPARATOR) if name)
        except (KeyError, ValueError) as error:
            raise Invalid(f"this is no part of a panel: {error}") from error
        return cls(panel, horizon, Calendar(country, subdivision, events), seed, kept, bool(baseline), extras)


def _dates(days: np.ndarray[tuple[int], np.dtype[np.datetime64]]) -> tuple[date, ...]:
    return tuple(days.astype(object).tolist())


def work(content: bytes) -> bytes:
    """Do one task: train and forecast, serve what is kept, or let the baseline forecast.

    Args:
        content: Of :meth:`Task.pack`.

    Returns:
        Of :meth:`~bursar.ml.forecast.keeping.Kept.pack`; the same bytes in give the same bytes out.
    """
    task = Task.unpack(content)
    if task.kept:
        return Kept(Kept.unpack(task.kept).serve(task.panel, task.calendar, task.seed), {}).pack()
    models = [SeasonalNaive()] if task.baseline else None
    result, fitted = fit_panel(
        task.panel, task.horizon, calendar=task.calendar, seed=task.seed, models=models, extras=task.extras
    )
    return Kept.of(result, fitted).pack()


def chosen(panel: Panel, rows: Sequence[int]) -> Panel:
    """Return some series of a panel."""
    return Panel.of(
        [panel.keys[row] for row in rows],
        panel.starts[list(rows)],
        [panel.series(row) for row in rows],
        grain=panel.grain,
        currency=panel.currency,
    )


def cut(panel: Panel, kept: Sequence[Kept] = ()) -> list[list[int]]:
    """Return the rows of each part.

    Args:
        panel: The whole.
        kept: Parts of a trained panel: a series stays in the part it was trained in; new ones go to the last. Without
            them the panel is cut in order into equal parts of at most ``PART_SERIES``.
    """
    if not kept:
        pieces = np.array_split(np.arange(len(panel)), -(-len(panel) // PART_SERIES))
        return [piece.tolist() for piece in pieces]
    place = {key: part for part, one in enumerate(kept) for key in one.result.keys}
    rows: list[list[int]] = [[] for _ in kept]
    for row, key in enumerate(panel.keys):
        rows[place.get(key, len(kept) - 1)].append(row)
    return rows
