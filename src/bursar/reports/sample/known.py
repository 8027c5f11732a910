"""What is also true about the sample: follows from the estate, so that noticing it is no false alarm."""

from collections.abc import Iterable
from datetime import timedelta

import numpy as np

from bursar.reports.sample.aws import PRODUCTS
from bursar.reports.sample.bank import Banks
from bursar.reports.sample.model import Notebook, Span, Stream

FORTNIGHT = timedelta(days=14)


def explain_estate(span: Span, book: Notebook, streams: Iterable[Stream]) -> None:
    """Note every resource that starts or stops inside the span, and every machine that runs all the time."""
    for stream in streams:
        charged = np.flatnonzero(~np.isnan(stream.usage))
        fields = stream.fields
        product = fields.get("product", "")
        names = (fields.get("resource", ""), fields.get("resource_name", ""), product, PRODUCTS.get(product, ""))
        subjects = tuple(name for name in names if name)
        first, last = span.day(int(charged[0])), span.day(int(charged[-1]))
        if first > span.start + FORTNIGHT:
            what = f"{stream.name} is charged from {first} on."
            book.explain("started", subjects, (first, min(first + FORTNIGHT, span.end)), what)
        if last < span.end - FORTNIGHT:
            what = f"{stream.name} is charged until {last}."
            book.explain("stopped", subjects, (last, last + FORTNIGHT), what)
        machine = "instance_type" in fields or fields.get("service") == "vm" or " Instance " in fields.get("sku", "")
        if machine and last == span.end and np.ptp(stream.usage[charged]) == 0:
            what = f"{stream.name} runs all the time: it could be committed to, moved or sized down."
            book.explain("steady_machine", subjects, (first, last), what)


def explain_bank(banks: Banks) -> None:
    """Note the payments that are large, regular and in order."""
    span = banks.span
    for name, what in (
        ("Finanzamt Hamburg", "Value-added tax falls due every quarter and wage tax every month."),
        ("Sammelueberweisung Gehaelter", "Wages rise a little every year."),
        ("AOK Nordwest", "Social insurance follows wages."),
        ("De Linde Winkels BV", "The Dutch client pays less than it did."),
    ):
        book_period = (span.start, span.end)
        banks.book.explain("regular_payment", (name,), book_period, what)
