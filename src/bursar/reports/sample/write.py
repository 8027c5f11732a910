"""Writes the whole sample organisation and the file that says what is true about it."""

import json
from dataclasses import asdict, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from bursar.kernel.errors import Invalid
from bursar.reports.sample import aws as aws_estate
from bursar.reports.sample import azure as azure_estate
from bursar.reports.sample import gcp as gcp_estate
from bursar.reports.sample.aws_commitments import commitments
from bursar.reports.sample.aws_cur import write_bills
from bursar.reports.sample.aws_planted import anomalies
from bursar.reports.sample.aws_waste import waste
from bursar.reports.sample.azure_focus import write_exports as write_azure
from bursar.reports.sample.bank import Banks, Bills, ordinary, settle_card
from bursar.reports.sample.bank_files import write_banks
from bursar.reports.sample.bank_planted import planted
from bursar.reports.sample.company import COMPANY
from bursar.reports.sample.gcp import write_exports as write_gcp
from bursar.reports.sample.known import explain_bank, explain_estate
from bursar.reports.sample.metrics import oversized, write_metrics
from bursar.reports.sample.model import Notebook, Span, Truth
from bursar.reports.sample.vendors import write_openai, write_saas

TRUTH_FILE = "truth.json"
"""Name of the file with the answers, in the folder itself; it is no export and is never imported."""

MONTHS_MIN = 24
MONTHS_MAX = 60

END = date(2026, 10, 31)


def write_sample(folder: Path, *, seed: int = 7, months: int = 24, end: date = END) -> Truth:
    """Write the exports of the sample organisation and ``truth.json`` into ``folder``.

    Args:
        folder: Made if it is not there; files of an earlier run are overwritten.
        seed: The same seed gives the same bytes.
        months: Whole months covered, 24 to 60.
        end: The last day covered; the last day of a month.

    Returns:
        What was written and what was planted.

    Raises:
        Invalid: ``months`` is out of range, or ``end`` is not the last day of a month.
    """
    if not MONTHS_MIN <= months <= MONTHS_MAX:
        raise Invalid(f"The sample covers {MONTHS_MIN} to {MONTHS_MAX} months, not {months}.", f"Give {MONTHS_MIN}.")
    if (end + timedelta(days=1)).day != 1:
        raise Invalid(f"The sample ends on the last day of a month; {end} is not one.", "Give the last day of a month.")
    span, book = Span(end, months), Notebook()
    folder.mkdir(parents=True, exist_ok=True)
    bills = _clouds(span, seed, book, folder)
    banks = Banks(span, seed, book)
    ordinary(banks, bills)
    planted(banks, bills)
    explain_bank(banks)
    settle_card(banks)
    write_banks(banks, folder)
    truth = Truth(
        company=COMPANY,
        seed=seed,
        start=span.start,
        end=end,
        files=tuple(book.files),
        planted=tuple(replace(item, where=book.places(item.id)) for item in sorted(book.planted, key=lambda p: p.id)),
        known=tuple(book.known),
    )
    (folder / TRUTH_FILE).write_text(as_json(truth), encoding="utf-8", newline="\n")
    return truth


def _clouds(span: Span, seed: int, book: Notebook, folder: Path) -> Bills:
    aws = aws_estate.Aws(span, seed)
    aws_estate.quiet(aws)
    anomalies(aws, book)
    waste(aws, book)
    fees = commitments(aws, book)
    azure = azure_estate.Azure(span, seed)
    azure_estate.estate(azure, book)
    oversized(aws, azure, book)
    gcp = gcp_estate.Gcp(span, seed)
    gcp_estate.estate(gcp, book)
    for streams in (aws.streams, azure.streams, gcp.streams):
        explain_estate(span, book, streams)
    write_metrics(aws, azure, book, folder)
    return {
        "aws": write_bills(aws, fees, book, folder),
        "azure": write_azure(azure, book, folder),
        "gcp": write_gcp(gcp, book, folder),
        "saas": write_saas(span, book, folder),
        "openai": write_openai(span, seed, book, folder),
    }


def as_json(truth: Truth) -> str:
    """Return the truth as JSON: dates in ISO form, amounts as strings."""

    def plain(value: object) -> str:
        if isinstance(value, Decimal):
            return f"{value:f}"
        assert isinstance(value, date)
        return value.isoformat()

    return json.dumps({"sample": "bursar", **asdict(truth)}, default=plain, indent=1, ensure_ascii=False) + "\n"
