"""Trace tokens: short, canonical, good for one organisation, refused when changed."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.infra.traces import PREFIX, TOKEN_CHARS_MAX, Tracer
from bursar.kernel import trace
from bursar.kernel.errors import Invalid
from bursar.kernel.trace import Figure
from bursar.parts.cloud.rules.filters import FILTER_CHARS_MAX

TRACER = Tracer(b"k" * 32, UUID(int=1))
START, END = date(2026, 1, 1), date(2026, 2, 1)
INSTANT = datetime(2026, 2, 1, 12, 30, 1, 5, tzinfo=UTC)
COST = trace.CostFigure(START, END, "USD", "billed", 'service = "S3"', (("region", None), ("service", "Amazon S3")))

FIGURES: tuple[Figure, ...] = (
    COST,
    trace.CostFigure(START, END, ""),
    trace.BankFigure(START, END, "EUR", (("payee", "Müller & Söhne"),)),
    trace.SpentFigure("bank", START, END, "EUR", 4, (("account", "DE1"), ("account", "DE2"))),
    trace.BridgeFigure(START, END, END, date(2026, 3, 1), "EUR", "effective", "", (("USD", "0.9", "0.92"),), "price", "EC2"),
    trace.BudgetFigure(UUID(int=7), START, "actual", "EUR"),
    trace.LedgerFigure("balance", "EUR", UUID(int=8), known_at=INSTANT),
    trace.LedgerFigure("earnings", "EUR", kinds="income,expense", since=START, until=END),
    trace.WorthFigure(UUID(int=9), "EUR", START, INSTANT),
    trace.TransactionFigure(UUID(int=10)),
    trace.TotalFigure("EUR", Decimal("0.6"), "worth"),
)  # fmt: skip


@pytest.mark.parametrize("figure", FIGURES, ids=repr)
def test_a_token_reads_back_as_what_it_stands_for(figure: Figure) -> None:
    token = TRACER.token(figure)

    assert TRACER.read(token) == figure
    assert TRACER.token(TRACER.read(token)) == token
    assert len(token) < 300


@pytest.mark.parametrize("figure", FIGURES, ids=repr)
def test_a_token_that_was_changed_anywhere_is_refused(figure: Figure) -> None:
    token = TRACER.token(figure)
    for at in range(len(PREFIX), len(token) - 1):  # the last character may hold bits of padding
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(Invalid, match="not a trace token"):
            TRACER.read(changed)


def test_a_token_is_good_for_one_organisation_and_one_house() -> None:
    token = TRACER.token(COST)

    for other in (replace(TRACER, org=UUID(int=2)), replace(TRACER, key=b"x" * 32)):
        with pytest.raises(Invalid, match="not a trace token"):
            other.read(token)


@given(st.text(max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    for token in (text, PREFIX + text):
        with pytest.raises(Invalid):
            TRACER.read(token)


def test_the_longest_filter_fits_and_a_longer_text_is_refused_unread() -> None:
    longest = TRACER.token(replace(COST, where="\U0001f4b6" * FILTER_CHARS_MAX))

    assert len(longest) <= TOKEN_CHARS_MAX
    assert TRACER.read(longest) == replace(COST, where="\U0001f4b6" * FILTER_CHARS_MAX)
    with pytest.raises(Invalid):
        TRACER.read(PREFIX + "A" * TOKEN_CHARS_MAX)
