"""What moves on the bank accounts of Halden & Marsh: the ordinary months."""

import calendar
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import numpy as np

from bursar.kernel.period import add_months
from bursar.reports.sample.company import COMPANY, MAIN, supplier_iban
from bursar.reports.sample.model import Entry, Notebook, Span, rng

CENT = Decimal("0.01")

Bills = dict[str, dict[date, Decimal]]
"""Vendor to month to invoice total."""


@dataclass
class Banks:
    """The entries of the four accounts, and what they are made from."""

    span: Span
    seed: int
    book: Notebook
    main: list[Entry] = field(default_factory=list)
    project: list[Entry] = field(default_factory=list)
    dollar: list[Entry] = field(default_factory=list)
    card: list[Entry] = field(default_factory=list)

    def draw(self, name: str, low: float, high: float) -> Decimal:
        """Return an amount between ``low`` and ``high`` to the cent; the same for the same name."""
        return Decimal(f"{rng(self.seed, name).uniform(low, high):.2f}")

    def on(self, month: date, day: int) -> date:
        """Return the given day of the month, moved to the next working day, never past the month."""
        last = calendar.monthrange(month.year, month.month)[1]
        wanted = month.replace(day=min(day, last))
        while wanted.weekday() >= 5:
            wanted += timedelta(days=1 if wanted.day < last - 1 else -1)
        return wanted


def pay(
    day: date, amount: Decimal, name: str, text: str, *, code: str = "transfer", truths: tuple[str, ...] = ()
) -> Entry:
    """Return a payment of ``amount`` (positive) to ``name``."""
    return Entry(day, -amount, name, text, supplier_iban(name), _reference(text), code, truths)


def receive(day: date, amount: Decimal, name: str, text: str, *, truths: tuple[str, ...] = ()) -> Entry:
    """Return a receipt of ``amount`` from ``name``."""
    return Entry(day, amount, name, text, supplier_iban(name), _reference(text), "transfer", truths)


def _reference(text: str) -> str:
    return next((word for word in text.split() if any(char.isdigit() for char in word)), "NOTPROVIDED")


RETAINERS = (
    ("Oakline Retail AG", "14200.00", 5),
    ("Brightwater Foods SE", "18900.00", 7),
    ("Nordlicht Versand GmbH", "9850.00", 9),
    ("Casa Verde SRL", "12400.00", 12),
    ("Pellworm Outdoor KG", "7600.00", 14),
)
PROJECTS = ("Tidewater Stores BV", "Alpenblick Sport GmbH", "Maison Lumen SAS", "Kestrel Homeware Ltd")
SUPPLIERS = (
    ("Brandt Metallbau GmbH", 3200, 5200, 11),
    ("Lindner Logistik GmbH", 2100, 2900, 17),
    ("Papierhaus Kranz KG", 240, 420, 19),
    ("Agentur Blauwerk", 1400, 2300, 23),
)


def ordinary(banks: Banks, bills: Bills) -> None:
    """Fill every account with what happens each month."""
    for number, month in enumerate(banks.span.all_months()):
        _income(banks, number, month)
        _costs(banks, month)
        _suppliers(banks, number, month)
        _branch(banks, month)
        _clouds(banks, month, bills)
        _card(banks, month)


def _income(banks: Banks, number: int, month: date) -> None:
    truth_month, tenant_months = banks.span.month(0), (banks.span.month(0), banks.span.month(1))
    for name, amount, day in RETAINERS:
        if name.startswith("Oakline") and month == truth_month:
            continue
        text = f"Retainer {month:%m/%Y} invoice HM-{month:%y%m}-{RETAINERS.index((name, amount, day)) + 1:02d}"
        banks.main.append(receive(banks.on(month, day), Decimal(amount), name, text))
    if month not in tenant_months:
        text = f"Untermiete Halle 2 {month:%m/%Y}"
        banks.main.append(receive(banks.on(month, 3), Decimal("1850.00"), "Studio Seiler", text))
    season = {11: 1.5, 12: 1.9, 1: 0.6, 2: 0.8, 7: 0.85, 8: 0.75}.get(month.month, 1.0)
    for index, name in enumerate(PROJECTS):
        earned = banks.draw(f"project/{name}/{month}", 9000, 12500) * Decimal(str(season)) * (100 + number) / 100
        text = f"Rechnung HM-{month:%y%m}-{20 + index}"
        banks.main.append(receive(banks.on(month, 8 + 5 * index), earned.quantize(CENT), name, text))


def _costs(banks: Banks, month: date) -> None:
    book = banks.main
    years = month.year - banks.span.start.year
    wages = Decimal("46200.00") + 900 * years
    book.append(pay(banks.on(month, 25), wages, "Sammelueberweisung Gehaelter", f"LOHN/GEHALT {month:%m/%Y}"))
    book.append(pay(banks.on(month, 26), wages * 2 / 5, "AOK Nordwest", f"SV-Beitraege {month:%m/%Y}", code="debit"))
    book.append(pay(banks.on(month, 10), wages / 5, "Finanzamt Hamburg", f"Lohnsteuer {month:%m/%Y}", code="debit"))
    book.append(pay(banks.on(month, 1), Decimal("6900.00"), "Immobilien Speicherstadt GmbH", f"Miete {month:%m/%Y}"))
    if month.month in {1, 4, 7, 10}:
        amount = banks.draw(f"vat/{month}", 17500, 18900)
        book.append(pay(banks.on(month, 12), amount, "Finanzamt Hamburg", f"USt-VA {month:%m/%Y}", code="debit"))
    if month.month == 1:
        text = f"Betriebshaftpflicht Jahresbeitrag {month.year} Police HV-778812"
        book.append(
            pay(banks.on(month, 15), Decimal("11840.00"), "Hanse Versicherung AG", text, code="debit", truths=("B16",))
        )
    dearer = month >= banks.span.month(7)
    amount = Decimal("219.90") if dearer else Decimal("189.90")
    marks = ("B05",) if dearer else ()
    text = f"Firmenanschluss {month:%m/%Y} Kundennr 4711-220"
    book.append(pay(banks.on(month, 6), amount, "Telenord Business GmbH", text, code="debit", truths=marks))
    normal = banks.draw(f"power/{month}", 588, 652)
    odd = month == banks.span.month(2)
    amount, marks = (normal * 4, ("B13",)) if odd else (normal, ())
    text = f"Strom Halle 1 Abschlag {month:%m/%Y} Vertrag 90077"
    book.append(pay(banks.on(month, 18), amount, "Stadtwerke Elbufer", text, code="debit", truths=marks))
    dearer = month >= banks.span.month(4)
    fee, marks = (Decimal("39.90"), ("B12",)) if dearer else (Decimal("14.90"), ())
    book.append(
        Entry(
            _last_working(month),
            -fee,
            "Nordhafen Bank",
            f"Kontofuehrungsentgelt {month:%m/%Y}",
            code="fee",
            truths=marks,
        )
    )


def _last_working(month: date) -> date:
    day = add_months(month, 1) - timedelta(days=1)
    while day.weekday() >= 5:
        day -= timedelta(days=1)
    return day


def _suppliers(banks: Banks, number: int, month: date) -> None:
    moved = month == banks.span.month(0)
    for name, low, high, day in SUPPLIERS:
        amount = banks.draw(f"supplier/{name}/{month}", low, high)
        text = f"RE-{month.year}-{100 + number * 7 + len(name):04d} vom {month:%d.%m.%Y}"
        entry = pay(banks.on(month, day), amount, name, text)
        if moved and name.startswith("Lindner"):
            entry = Entry(
                entry.day,
                entry.amount,
                name,
                text,
                supplier_iban("another account"),
                entry.reference,
                "transfer",
                ("B14",),
            )
        banks.main.append(entry)


def _branch(banks: Banks, month: date) -> None:
    """Add the Dutch branch's account: it spends more than it gets, so that its balance runs out."""
    book = banks.project
    income = Decimal("8050.00") if month < banks.span.month(6) else Decimal("5200.00")
    book.append(receive(banks.on(month, 4), income, "De Linde Winkels BV", f"Factuur HM-NL-{month:%y%m}"))
    book.append(pay(banks.on(month, 1), Decimal("2150.00"), "Kantoorpark Zuid BV", f"Huur {month:%m-%Y}"))
    book.append(pay(banks.on(month, 24), Decimal("4480.00"), "Salarisverwerking Oost", f"Salaris {month:%m-%Y}"))
    amount = banks.draw(f"nl/{month}", 380, 460)
    book.append(
        pay(banks.on(month, 15), amount, "Energie Polder NV", f"Termijn {month:%m-%Y} klant 33120", code="debit")
    )
    amount = banks.draw(f"nl2/{month}", 190, 260)
    book.append(pay(banks.on(month, 20), amount, "Koerier Direct BV", f"Factuur KD-{month:%y%m}-18"))


def _clouds(banks: Banks, month: date, bills: Bills) -> None:
    due = banks.on(add_months(month, 1), 4)
    if due > banks.span.end:
        return
    azure = bills["azure"][month].quantize(CENT)
    odd = month == banks.span.month(6)
    if odd:
        azure += Decimal("312.40")
    marks = ("B15",) if odd else ()
    text = f"Azure E0900{month:%y%m}A7 {month:%m/%Y}"
    banks.main.append(pay(due, azure, "Microsoft Ireland Operations", text, code="debit", truths=marks))
    google = bills["gcp"][month].quantize(CENT)
    banks.main.append(pay(due, google, "Google Cloud EMEA Limited", f"GCP {month:%m/%Y} 01F2A7", code="debit"))
    signalgrid = bills["saas"][month].quantize(CENT)
    banks.main.append(
        pay(banks.on(add_months(month, 1), 12), signalgrid, "Signalgrid", f"Invoice SG-{month:%Y-%m}-0071")
    )
    amazon = bills["aws"][month].quantize(CENT)
    text = f"INVOICE {2_100_000_000 + month.year * 100 + month.month}"
    banks.dollar.append(pay(due, amazon, "AMAZON WEB SERVICES", text, code="debit"))
    tokens = bills["openai"][month].quantize(CENT)
    banks.dollar.append(
        pay(banks.on(add_months(month, 1), 2), tokens, "OPENAI LLC", f"API USAGE {month:%m/%Y}", code="debit")
    )


def _card(banks: Banks, month: date) -> None:
    for index in range(9):
        day = banks.on(month, 2 + 3 * index)
        name = ("Bahn Fernverkehr", "Hotel am Kai", "Kantine Nord", "Taxi Union")[index % 4]
        low, high = {
            "Bahn Fernverkehr": (38, 140),
            "Hotel am Kai": (95, 180),
            "Kantine Nord": (9, 24),
            "Taxi Union": (11, 34),
        }[name]
        banks.card.append(Entry(day, -banks.draw(f"card/{month}/{index}", low, high), name, "", code="card"))
    banks.dollar.append(
        receive(banks.on(month, 16), _dollar_sales(banks, month), "CASCADIA FURNISHINGS INC", f"INV HM-US-{month:%y%m}")
    )


def _dollar_sales(banks: Banks, month: date) -> Decimal:
    growth = Decimal(
        str(round(1.03 ** ((month.year - banks.span.start.year) * 12 + month.month - banks.span.start.month), 4))
    )
    return (banks.draw(f"us/{month}", 5400, 5900) * growth).quantize(CENT)


def settle_card(banks: Banks) -> None:
    """Pay what the card spent in each month from the main account, on the first working day after it."""
    for month in banks.span.all_months():
        end = add_months(month, 1)
        spent = -sum(
            (entry.amount for entry in banks.card if month <= entry.day < end and entry.amount < 0), Decimal(0)
        )
        day = banks.on(end, 1)
        if day <= banks.span.end:
            text = f"Card settlement {month:%m/%Y}"
            banks.main.append(Entry(day, -spent, COMPANY, text, MAIN, "NOTPROVIDED"))
            banks.card.append(Entry(day, spent, COMPANY, text, MAIN, "NOTPROVIDED", "income"))


def ordered(entries: list[Entry]) -> list[Entry]:
    """Return the entries by day; within a day receipts come first."""
    return sorted(entries, key=lambda entry: (entry.day, entry.amount < 0, entry.name, entry.text))


def running(opening: Decimal, entries: list[Entry]) -> list[Decimal]:
    """Return the balance after every entry."""
    cents = np.cumsum([int(entry.amount * 100) for entry in entries])
    return [opening + Decimal(int(value)) / 100 for value in cents]
