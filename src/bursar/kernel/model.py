"""Model: a named, versioned fit/predict with a declared baseline, a backtest and a scorecard; here what an answer says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bursar.kernel.period import Period


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """What every answer of a model carries, so that it can be checked later.

    Attributes:
        name: Of the model, or of the mix with its weights, such as ``60% trees_level + 40% ridge``.
        version: Of the stored model; 0 when nothing is stored (the baseline, or numbers sent along with the request).
        baseline: Name of the declared baseline.
        beats_baseline: False where the baseline itself serves.
        trained: Days learned from.
        error: Backtest error in the baseline's units, or None when the history was too short to try.
        coverage: Share of outcomes inside the interval by nominal level, as measured; empty when not measured.
        reasons: Why better candidates do not serve.
    """

    name: str
    version: int
    baseline: str
    beats_baseline: bool
    trained: Period
    error: float | None = None
    coverage: Mapping[float, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def is_fallback(self) -> bool:
        """Whether something other than the best candidate serves."""
        return bool(self.reasons) or not self.beats_baseline
