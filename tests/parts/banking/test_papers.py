"""Payments meet the invoices that imported bills state."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bursar.core.intake import service as intake
from bursar.core.intake.jobs import Importer
from bursar.kernel.actor import Actor
from bursar.kernel.lines import COST_LINES, INVOICE_DETAIL_LINES
from bursar.parts.banking.papers import rules, service
from bursar.parts.banking.papers.rules import Paper
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.understanding import service as understanding
from bursar.parts.banking.understanding.rules import answers
from bursar.parts.banking.understanding.rules.answers import Past
from bursar.parts.banking.understanding.rules.documents import CATEGORY, paid
from tests.parts.banking.statements import NOW, importer_in, taken
from tests.parts.banking.test_understanding import decide, listed, load

HEADER = "BilledCost,BillingAccountId,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,InvoiceIssuerName,InvoiceId,ServiceName,ProviderName"


@pytest.fixture
async def importer(db: Any, tmp_path: Path) -> AsyncIterator[Importer]:
    async with importer_in(db, tmp_path) as made:
        yield replace(made, schemas={**made.schemas, INVOICE_DETAIL_LINES.name: INVOICE_DETAIL_LINES})


def bill(path: Path, *rows: str) -> Path:
    """Write a FOCUS bill of September: amount, category, invoice, provider, issuer."""
    written = []
    for row in rows:
        amount, kind, invoice, provider, issuer = row.split("|")
        period = "2026-09-01T00:00:00Z,2026-10-01T00:00:00Z"
        written.append(
            f"{amount},4711,USD,{period},2026-09-30T00:00:00Z,2026-10-01T00:00:00Z,{kind},{issuer},{invoice},EC2,{provider}"
        )
    path.write_text("\n".join([HEADER, *written, ""]))
    return path


AWS = (
    "1000.114|Usage|EUINGB26-77|AWS|Amazon Web Services EMEA SARL",
    "234.446|Tax|EUINGB26-77|AWS|Amazon Web Services EMEA SARL",
)
AZURE = ("55.10|Usage||Microsoft|Microsoft",)


async def import_bill(importer: Importer, actor: Actor, path: Path) -> UUID:
    [batch] = await taken(importer, actor, path)
    assert batch.rows_taken, batch
    async with importer.db.writing(actor) as tx:
        await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
        await understanding.understand(tx, actor)
    return batch.id


@pytest.mark.parametrize("bill_first", [True, False])
async def test_a_payment_is_matched_with_the_invoice_of_an_imported_bill(
    bill_first: bool, importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    path = bill(tmp_path / "focus.csv", *AWS, *AZURE)
    rows = [
        ("20261003", "-1234.56", "AMAZON WEB SERVICES AWS.AMAZON.CO"),
        ("20261004", "-1234.56", "AMAZON WEB SERVICES AWS.AMAZON.CO"),
        ("20261005", "-55.10", "MSFT AZURE"),
        ("20261005", "-55.10", "CORNER SHOP"),
        ("20261230", "-55.10", "MSFT AZURE LATE"),
    ]
    if bill_first:
        await import_bill(importer, actor, path)
    await load(importer, actor, tmp_path, rows)
    if not bill_first:
        await import_bill(importer, actor, path)
    aws, again, azure, shop, late = await listed(importer, actor)

    assert (aws.stage, aws.category, aws.state) == ("document", CATEGORY, "suggested")
    assert aws.evidence["number"] == "EUINGB26-77"
    assert aws.evidence["total"] == "1234.56"
    assert aws.evidence["because"] == (
        "the exact total of invoice EUINGB26-77 of Amazon Web Services EMEA SARL, and the text names its issuer"
    )
    assert (
        azure.evidence["because"]
        == "the exact total of the bill of 2026-09 of Microsoft, and the text names its issuer"
    )
    assert {row.stage for row in (again, shop, late)} == {""}


async def test_a_decision_keeps_the_invoice_and_teaches_the_next_one(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await load(importer, actor, tmp_path, [("20261003", "-1234.56", "AMAZON WEB SERVICES")])
    batch = await import_bill(importer, actor, bill(tmp_path / "a.csv", *AWS))
    [first] = await listed(importer, actor)
    async with importer.db.reading(actor) as tx:
        [card] = await understanding.queue(tx, actor)
    await decide(importer, actor, "Hosting", first.id)
    await load(importer, actor, tmp_path, [("20261004", "-1234.56", "AMAZON WEB SERVICES")], account="77")
    await load(importer, actor, tmp_path, [("20261005", "-60.00", "AMAZON WEB SERVICES")], account="78")
    await import_bill(importer, actor, bill(tmp_path / "b.csv", "60|Purchase|EUINGB26-78|AWS|AWS"))
    first, second, third = await listed(importer, actor)
    async with importer.db.writing(actor) as tx:
        await intake.revert(tx, actor, batch=batch, lake=importer.lake, schemas=importer.schemas, now=NOW)
        await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
        left = await service.of_sizes(tx, sizes=[123456])

    assert [answer.stage for answer in card.top] == ["document"]
    assert (first.stage, first.evidence["document"]) == ("person", "aws:EUINGB26-77:USD")
    assert first.evidence["because"].startswith("decided by")
    assert second.stage != "document"
    assert (third.stage, third.category, third.evidence["number"]) == ("document", "Hosting", "EUINGB26-78")
    assert left == []


def paper(**other: Any) -> Paper:
    facts = {
        "id": "aws:INV-12345:USD", "provider": "aws", "issuer": "Amazon Web Services, Inc.", "number": "INV-12345", "currency": "USD",
        "total": Decimal("10.004"), "last_day": date(2026, 9, 30), "source": COST_LINES.name,
    }  # fmt: skip
    return Paper(**{**facts, **other})


def row(
    text: str = "amazon", *, amount: str = "-10.00", day: date = date(2026, 10, 3), id_: int = 1, currency: str = "USD"
) -> answers.Row:
    return answers.Row(
        UUID(int=id_), "42", day, Decimal(amount), currency, 1_000, text, tuple(text.split()), "", UUID(int=7), "", "", UUID(int=2), 1
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "papers", "score"),
    [
        (row(), [paper()], 0.9), (row("inv 12345"), [paper()], 0.98), (row("inv12345"), [paper()], 0.98), (row("shop"), [paper()], None),
        (row(amount="10.00"), [paper()], None), (row(amount="10.00"), [paper(total=Decimal(-10))], 0.9), (row(amount="-10.01"), [paper()], None),
        (row(currency="EUR"), [paper()], None), (row(day=date(2026, 9, 19)), [paper()], None), (row(day=date(2026, 12, 15)), [paper()], None),
        (row(day=date(2026, 12, 14)), [paper()], 0.9), (row("amazon 12345"), [paper(), paper(id="aws:2:USD", number="2")], None),
        (row("inv 12345"), [paper(), paper(id="aws:2:USD", number="2")], 0.98), (row("inv 1"), [paper(number="INV-1")], None),
        (row("azure"), [paper(provider="microsoft ireland", issuer="Microsoft Ireland Operations", id="x")], 0.9),
        (row("services web"), [paper()], None), (row(), [paper(total=Decimal(0))], None),
    ],
)  # fmt: skip
def test_an_invoice_is_paid_by_its_exact_total_with_its_number_or_issuer(
    asked: answers.Row, papers: Sequence[Paper], score: float | None
) -> None:
    found = paid([asked], papers)

    assert [answer.score for answer in found.values()] == ([score] if score else [])


def test_an_invoice_is_paid_once_by_the_earliest_and_called_as_people_called_it() -> None:
    late, early = row(day=date(2026, 10, 9), id_=1), row(id_=2)
    past = [
        Past(row(id_=3), "Hosting"),
        Past(row(id_=4), "Hosting"),
        Past(row(id_=5), "Office"),
        Past(row(id_=6), None),
    ]

    assert {id_: answer.category for id_, answer in paid([late, early], [paper()], past).items()} == {
        early.id: "Hosting"
    }
    assert paid([late, early], [paper()], past, {paper().id}) == {}


def test_what_an_issuer_states_counts_before_what_its_lines_add_up_to() -> None:
    detail = paper(source=INVOICE_DETAIL_LINES.name, id="AWS:INV-12345:USD")

    assert rules.stated_once([paper(), detail]) == [detail]
    assert rules.gathered([paper(), paper(total=Decimal(1))])[0].total == Decimal("11.004")
