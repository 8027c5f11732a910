"""What detection speaks of: alerts, the rules an organisation sets, and the evidence that detectors share."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from bursar.kernel.series import Days, Floats
from bursar.ml.anomaly.residuals import Scale
from bursar.ml.calendar import Bools


class AlertKind(StrEnum):
    """What sort of change an alert reports."""

    SPIKE = "spike"
    SHIFT = "shift"
    DRIFT = "drift"
    NEW = "new"
    VANISHED = "vanished"
    CANCELLING = "cancelling"


@dataclass(frozen=True, slots=True)
class Rules:
    """What an organisation wants to hear about.

    Attributes:
        budget_alerts: False alerts allowed per ``budget_series`` series and ``budget_periods`` periods.
        budget_series: See above.
        budget_periods: See above; 30 days of a daily panel.
        money_least: An alert's impact in major units is at least this.
        percent_least: ... and at least this share of what was expected, 0.2 is 20 %.
        quiet_seasons: After an alert a series is silent for this many seasons, unless a change begins that is clearly larger.
    """

    budget_alerts: float = 1.0
    budget_series: float = 100.0
    budget_periods: float = 30.0
    money_least: float = 0.0
    percent_least: float = 0.2
    quiet_seasons: int = 2

    @property
    def share(self) -> float:
        """False alerts allowed per series and stretch of ``budget_periods``."""
        return self.budget_alerts / self.budget_series

    @property
    def rate(self) -> float:
        """False alerts allowed per series and period."""
        return self.budget_alerts / (self.budget_series * self.budget_periods)


@dataclass(frozen=True, slots=True)
class Alert:
    """One change worth telling.

    Attributes:
        row: Series of the panel.
        kind: Sort of change.
        onset: Start of the first period that is part of it.
        at: Start of the period at which it became known.
        actual: Sum of the values from ``onset`` to ``at``, major units.
        expected: What they were expected to sum to.
        lower: Lower end of the 95 % range of that expectation.
        upper: Upper end.
        p: Probability of a change at least this unusual in normal times.
        partner: The series with the opposite change, for a cancelling pair; -1 otherwise.
    """

    row: int
    kind: AlertKind
    onset: np.datetime64
    at: np.datetime64
    actual: float
    expected: float
    lower: float
    upper: float
    p: float
    partner: int = -1

    @property
    def impact(self) -> float:
        """Actual minus expected, major units; positive is more spent."""
        return self.actual - self.expected


@dataclass(frozen=True, slots=True)
class Detection:
    """Alerts, and the evidence of the scanned periods.

    Attributes:
        alerts: By period, then by p.
        times: Shape (c,): periods scanned.
        expected: Shape (n, c): expected value of each; NaN where the history is too short.
        spread: Shape (n,): robust deviation of single values from the expectation.
        p: Shape (n, c): smallest p-value over the time scales, corrected for their number.
        threshold: p below which an alert is raised.
    """

    alerts: tuple[Alert, ...]
    times: Days
    expected: Floats
    spread: Floats
    p: Floats
    threshold: float


@dataclass(slots=True)
class Evidence:
    """Per time scale: mean residual (n, c), p (n, c) and the spread (n,)."""

    scale: Scale
    mean: Floats
    p: Floats
    spread: Floats


@dataclass(slots=True)
class Work:
    """What all steps share: values (n, t), first scanned column, and where nothing may be reported."""

    values: Floats
    times: Days
    start: int
    ignored: Bools
    season: int
    evidence: list[Evidence] = field(default_factory=list)
