"""The read model of the main job: what was read, what is worth doing, what was left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from bursar.core.findings.service import Kept as KeptFinding
from bursar.core.findings.service import Totals, totals
from bursar.core.intake.service import Batch, BatchState
from bursar.infra.traces import Tracer
from bursar.kernel.money import Money
from bursar.kernel.trace import TotalFigure

SURE_MIN = 0.6
"""Findings less certain than this are counted apart and not summed."""

TOP = 5
"""Findings shown on the first screen."""


@dataclass(frozen=True, slots=True)
class Review:
    """One review.

    Attributes:
        batches: One per document, in reading order; ``already`` marks known documents.
        seconds: Wall time of reading and analysing, s.
        findings: Findings sure enough, ranked by expected money.
        unsure: Findings below :data:`SURE_MIN`, ranked too.
        sums: Money worth acting on per currency; overlaps counted once.
        start: First day of the facts read.
        end: Last day of the facts read.
        failed: A sentence about each advisor that failed.
        tracer: Makes the trace tokens of the sums.
        organisation: Its name.
    """

    batches: Sequence[Batch]
    seconds: float
    findings: Sequence[KeptFinding]
    unsure: Sequence[KeptFinding]
    sums: Sequence[Totals]
    start: date | None
    end: date | None
    tracer: Tracer
    failed: Sequence[str] = ()
    organisation: str = ""

    @property
    def rows_read(self) -> int:
        """Rows read from all documents."""
        return sum(batch.rows_read for batch in self.batches)

    @property
    def refused(self) -> list[Batch]:
        """Documents that were not understood, or of which rows were refused."""
        return [batch for batch in self.batches if batch.state is BatchState.REFUSED or batch.rows_refused]

    @property
    def worth(self) -> dict[str, Money]:
        """Money worth acting on by currency."""
        return {total.currency: total.worth for total in self.sums}

    def trace(self, currency: str, part: str) -> str:
        """Return the trace token of a sum: its ``worth``, ``low``, ``high`` or ``overlap``."""
        return self.tracer.token(TotalFigure(currency, Decimal(str(SURE_MIN)), part))


def made(
    batches: Sequence[Batch],
    inbox: Sequence[KeptFinding],
    *,
    seconds: float,
    tracer: Tracer,
    failed: Sequence[str] = (),
    organisation: str = "",
) -> Review:
    """Put a review together.

    Args:
        batches: What the import returned, in order.
        inbox: Open findings ranked by expected money.
        seconds: Wall time spent.
        tracer: Of the organisation.
        failed: A sentence about each advisor that failed.
        organisation: Its name.
    """
    sure = [kept for kept in inbox if kept.finding.confidence >= SURE_MIN]
    starts = [batch.start for batch in batches if batch.start]
    ends = [batch.end for batch in batches if batch.end]
    return Review(
        batches=batches,
        seconds=seconds,
        findings=sure,
        unsure=[kept for kept in inbox if kept.finding.confidence < SURE_MIN],
        sums=totals([kept for kept in sure if kept.counted.minor > 0]),
        start=min(starts, default=None),
        end=max(ends, default=None),
        tracer=tracer,
        failed=failed,
        organisation=organisation,
    )
