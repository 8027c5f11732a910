"""What is wrong on the bank accounts by construction."""

from datetime import date, timedelta
from decimal import Decimal

from bursar.kernel.period import add_months
from bursar.reports.sample.bank import Banks, Bills, pay
from bursar.reports.sample.company import PROJECT
from bursar.reports.sample.model import Entry

Months = tuple[int, int]


def planted(banks: Banks, bills: Bills) -> None:
    """Plant duplicate payments, subscriptions that go wrong, and the warnings that the ordinary months hold."""
    _duplicates(banks)
    _subscriptions(banks)
    _creep(banks)
    _warnings(banks)
    _runs_out(banks)
    month = banks.span.month(6)
    day = add_months(month, 1)
    what = f"Microsoft was paid 312.40 EUR more than the bill of {month:%B %Y} comes to."
    subjects = ("Microsoft Ireland Operations", f"E0900{month:%y%m}A7")
    period = (day, day + timedelta(days=10))
    banks.book.plant("B15", "invoice_mismatch", subjects, period, (Decimal("312.40"), "EUR"), what, recurring=False)
    assert bills["azure"][month] > 0


def _duplicates(banks: Banks) -> None:
    first = banks.on(banks.span.month(5), 7)
    again = first + timedelta(days=14)
    text = f"RE-{first.year}-0417 Treppengelaender"
    for day in (first, again):
        banks.main.append(pay(day, Decimal("8730.00"), "Brandt Metallbau GmbH", text, truths=("B01",)))
    _twice(
        banks,
        "B01",
        "Brandt Metallbau GmbH",
        (first, again),
        "8730.00",
        "The same invoice was paid twice, two weeks apart.",
    )
    first = banks.on(banks.span.month(8), 9)
    again = first + timedelta(days=5)
    text = f"FV-{first.year}-2291 Messestand"
    banks.main.append(pay(first, Decimal("4165.00"), "Messebau Ostertor GmbH", text, truths=("B02",)))
    banks.project.append(pay(again, Decimal("4165.00"), "Messebau Ostertor GmbH", text, truths=("B02",)))
    what = "One invoice was paid from two accounts, five days apart."
    _twice(banks, "B02", "Messebau Ostertor GmbH", (first, again), "4165.00", what)
    day = banks.on(banks.span.month(1), 13)
    for _ in range(2):
        banks.card.append(
            Entry(day, Decimal("-486.20"), "Skylark Airways", "Booking K7PQ2M", code="card", truths=("B03",))
        )
    _twice(
        banks, "B03", "Skylark Airways", (day, day), "486.20", "One flight was charged to the card twice on one day."
    )
    first = banks.on(banks.span.month(10), 16)
    again = first + timedelta(days=9)
    for day, reference in ((first, "ML-88121"), (again, "ML 88121")):
        banks.main.append(
            pay(day, Decimal("2318.75"), "Moebelteile Lahn OHG", f"Rechnung {reference}", truths=("B04",))
        )
    what = "The same invoice was paid twice; the number was typed differently."
    _twice(banks, "B04", "Moebelteile Lahn OHG", (first, again), "2318.75", what)


def _twice(banks: Banks, truth: str, name: str, period: tuple[date, date], amount: str, what: str) -> None:
    banks.book.plant(truth, "duplicate_payment", (name,), period, (Decimal(amount), "EUR"), what, recurring=False)


def _monthly(
    banks: Banks, account: list[Entry], name: str, text: str, day: int, prices: dict[int, tuple[str, tuple[str, ...]]]
) -> None:
    """Add a monthly charge; ``prices`` maps months back, from which it holds, to (amount, truths); "0" ends it."""
    for back in range(banks.span.months - 1, -1, -1):
        valid = [since for since in prices if since >= back]
        if valid and prices[min(valid)][0] != "0":
            amount, truths = prices[min(valid)]
            month = banks.span.month(back)
            code = "card" if account is banks.card else "debit"
            account.append(
                Entry(
                    banks.on(month, day),
                    -Decimal(amount),
                    name,
                    f"{text} {month:%m/%Y}".strip(),
                    code=code,
                    truths=truths,
                )
            )


def _subscriptions(banks: Banks) -> None:
    span, book = banks.span, banks.book
    what = "The line rental rose from 189.90 to 219.90 a month."
    since = span.month(7)
    book.plant(
        "B05", "subscription_price_rise", ("Telenord Business GmbH",), (since, span.end), (Decimal(360), "EUR"), what
    )
    _monthly(banks, banks.card, "Figura Design", "Team plan", 5, {99: ("45.00", ()), 8: ("60.00", ("B06",))})
    what = "The design tool rose from 45 to 60 a month."
    book.plant(
        "B06", "subscription_price_rise", ("Figura Design",), (span.month(8), span.end), (Decimal(180), "EUR"), what
    )
    _monthly(banks, banks.dollar, "MEETWELL INC", "PRO", 9, {99: ("149.90", ()), 5: ("199.90", ("B07",))})
    what = "The meeting service rose by a third."
    book.plant(
        "B07", "subscription_price_rise", ("MEETWELL INC",), (span.month(5), span.end), (Decimal(600), "USD"), what
    )
    _monthly(banks, banks.card, "Dropstack", "Business", 11, {99: ("36.00", ("B08",))})
    _monthly(banks, banks.main, "Dropstack", "Business plan Abo", 11, {15: ("36.00", ("B08",))})
    what = "The same file service is paid by card and by direct debit."
    book.plant("B08", "duplicate_subscription", ("Dropstack",), (span.month(15), span.end), (Decimal(432), "EUR"), what)
    trial = span.month(9)
    banks.card.append(Entry(banks.on(trial, 21), Decimal("-1.00"), "Spesenfix", "Trial", code="card", truths=("B09",)))
    _monthly(banks, banks.card, "Spesenfix", "Plan L", 21, {8: ("49.00", ("B09",))})
    what = "A trial for one euro turned into a plan of 49 a month that nobody ordered."
    book.plant("B09", "forgotten_subscription", ("Spesenfix",), (trial, span.end), (Decimal(588), "EUR"), what)


CREEP = (
    ("Notabene Wiki", "16.00", 20),
    ("Calendry", "12.00", 18),
    ("Formbee", "29.00", 14),
    ("Linkwerk", "18.00", 12),
    ("Boardmix", "24.00", 9),
    ("Screenloop", "15.00", 7),
    ("Taskrabbit Pro Suite", "39.00", 4),
    ("Promptdesk", "30.00", 2),
)
"""Small subscriptions on the card: name, price a month, months back when it began."""


def _creep(banks: Banks) -> None:
    for name, price, since in CREEP:
        day = 3 + CREEP.index((name, price, since)) * 3
        _monthly(banks, banks.card, name, "Subscription", day, {since: (price, ("B10",))})
    yearly = 12 * sum((Decimal(price) for _, price, _ in CREEP), Decimal(0))
    what = f"{len(CREEP)} small subscriptions were added to the card one by one; nobody ended one."
    subjects = ("N26 Business", *(name for name, _, _ in CREEP))
    period = (banks.span.month(20), banks.span.end)
    banks.book.plant("B10", "subscription_creep", subjects, period, (yearly, "EUR"), what)


def _warnings(banks: Banks) -> None:
    span, book = banks.span, banks.book
    last = span.month(0)
    text = "The retainer that came on the 5th of every month did not come in the last month."
    period = (last, span.end)
    name = ("Oakline Retail AG",)
    book.plant("B11", "missing_receipt", name, period, (Decimal(14200), "EUR"), text, recurring=False)
    text = "The monthly account fee went from 14.90 to 39.90."
    book.plant("B12", "bank_fee_jump", ("Nordhafen Bank",), (span.month(4), span.end), (Decimal(300), "EUR"), text)
    month = span.month(2)
    odd = next(entry for entry in banks.main if "B13" in entry.truths)
    text = "The electricity instalment of one month was four times the usual one."
    worth = -odd.amount * 3 / 4
    end = add_months(month, 1) - timedelta(days=1)
    book.plant("B13", "unusual_amount", ("Stadtwerke Elbufer",), (month, end), (worth, "EUR"), text, recurring=False)
    text = (
        "A supplier paid for two years at one account was paid at another one: check for fraud before the next payment."
    )
    moved = next(entry for entry in banks.main if "B14" in entry.truths)
    book.plant(
        "B14",
        "changed_account",
        ("Lindner Logistik GmbH",),
        (moved.day, moved.day),
        (-moved.amount, "EUR"),
        text,
        recurring=False,
    )
    january = date(span.end.year + (span.end.month >= 1), 1, 15)
    text = "The liability insurance falls due every January: 11,840 EUR in one amount."
    book.plant(
        "B16", "upcoming_annual_payment", ("Hanse Versicherung AG",), (span.start, january), (Decimal(0), "EUR"), text
    )
    text = "The subtenant has paid nothing for two months."
    book.plant(
        "B17",
        "missing_receipt",
        ("Studio Seiler",),
        (span.month(1), span.end),
        (Decimal(3700), "EUR"),
        text,
        recurring=False,
    )


def _runs_out(banks: Banks) -> None:
    """Plant the day on which the Dutch branch's balance passes zero, at the pace of its fixed months."""
    span = banks.span
    after = span.end + timedelta(days=15)
    text = "The account of the Dutch branch pays out more than it gets and will be empty within weeks."
    period = (after, after + timedelta(days=60))
    banks.book.plant("B18", "low_balance", (PROJECT,), period, (Decimal(0), "EUR"), text)
