"""The HTML report: one self-contained file, no script, readable everywhere."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bursar.core.findings.service import Kept
from bursar.reports.charts import ChartData, line_svg
from bursar.reports.review import Review

if TYPE_CHECKING:
    from jinja2 import Template

CARDS_PRINTED = 10
"""Findings that paper shows with charts, parts and rows; the others come with their formula."""
ROWS_PRINTED = 8
"""Most source rows of a finding on paper."""
FINDINGS_MAX = 100
"""Findings shown in full; the rest is counted."""

TABLE_ROWS_MAX = 400
"""Rows of the table behind a chart."""


@lru_cache(maxsize=1)
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("bursar.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["money"] = money
    made.filters["whole"] = lambda amount: f"{amount:,.0f}"
    made.filters["exact"] = exact
    made.filters["visible"] = visible
    return made.get_template("report.html.j2")


def money(amount: Decimal) -> str:
    """Return an amount with thousands separators and two places, or whole from a thousand on."""
    return f"{amount:,.0f}" if abs(amount) >= 1_000 or not amount else f"{amount:,.2f}"


def exact(amount: Decimal) -> str:
    """Return an amount with every place it has, at least two."""
    whole, _, places = f"{amount:,f}".partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}"


def visible(text: str) -> str:
    """Return foreign text with control and bidirectional marks shown as ``·``."""
    return "".join(char if char.isprintable() and char not in _BIDI else "·" for char in text)


_BIDI = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


BESIDE = {"expected": "expected", "lower": "95 % range from", "upper": "95 % range to"}
"""Lines of a chart beside what was, with what they are called."""


def chart_of(kept: Kept) -> tuple[str, list[tuple[str, ...]], tuple[str, ...]]:
    """Return the finding's chart as SVG, the rows behind it, and what stands in them beside the day and its value."""
    chart = kept.finding.evidence.chart
    labels = [str(label) for label in chart.get("x", [])]
    values = [str(value) for value in chart.get("y", [])]
    if not labels:
        return "", [], ()
    beside = {name: chart[key] for key, name in BESIDE.items() if key in chart}
    lines = {name: [None if one is None else float(str(one)) for one in line] for name, line in beside.items()}
    data = ChartData(kept.finding.title, labels, [float(value) for value in values], kept.finding.worth.currency, lines)
    told = [["" if one is None else str(one) for one in line] for line in beside.values()]
    return line_svg(data), list(zip(labels, values, *told, strict=True))[-TABLE_ROWS_MAX:], tuple(beside)


def render(review: Review, *, made_at: datetime, organisation: str, sample: bool = False) -> str:
    """Return the report as one HTML document.

    Args:
        review: What was read and found.
        made_at: Instant shown, aware.
        organisation: Name shown.
        sample: Whether to mark the data as the sample organisation's.
    """
    shown: Sequence[Kept] = (*review.findings, *review.unsure)[:FINDINGS_MAX]
    cards: list[dict[str, Any]] = []
    for kept in shown:
        svg, table, beside = chart_of(kept)
        parts = kept.finding.evidence.parts
        cards.append(
            {
                "kept": kept,
                "finding": kept.finding,
                "evidence": kept.finding.evidence,
                "together": sum((part.amount for part in parts), start=Decimal(0)),
                "svg": svg,
                "table": table,
                "beside": beside,
            }
        )
    return _template().render(
        review=review,
        cards=cards,
        sure=cards[: len(review.findings)],
        unsure=cards[len(review.findings) :],
        more=len(review.findings) + len(review.unsure) - len(shown),
        made_at=made_at,
        organisation=organisation,
        sample=sample,
        printed_cards=CARDS_PRINTED,
        printed_rows=ROWS_PRINTED,
    )
