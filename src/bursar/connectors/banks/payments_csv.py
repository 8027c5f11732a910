"""Payment exports of accounts payable and open-spending publications: one row per payment to a supplier.

Covers the header layouts of councils, departments and bookkeeping programs; amounts keep the sign of the source (money
out positive). Sub-totals without a date are refused row by row, never added.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from bursar.connectors.banks import _amounts, _dates, _frame, _table
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import PAYMENT_LINES, DocumentKind, Parsed

CURRENCY_DEFAULT = "EUR"
"""Taken, and said in :attr:`Parsed.currency_hint`, where neither the file nor a person names a currency."""

ROLES: dict[str, tuple[str, ...]] = {
    "day": (
        "payment date", "date paid", "paid date", "date of payment", "transaction date", "posting date", "posted date", "effective date",
        "date", "invoice date", "pay date", "cleared date", "gl date", "document date", "payment run date", "day", "clearing date",
    ),
    "amount": (
        "payment amount", "amount paid", "paid amount", "gross amount", "amount inc vat", "amount gbp", "transaction amount", "amount",
        "net amount", "amount excl vat", "amount ex vat", "invoice amount", "gross", "net", "value", "sum", "total", "line amount",
        "amount in gbp", "spend", "total amount", "transaction value", "amount net",
    ),
    "currency": ("currency", "currency code", "ccy"),
    "supplier": (
        "supplier name", "supplier", "beneficiary name", "beneficiary", "vendor name", "vendor", "payee name", "payee", "creditor name",
        "creditor", "merchant name", "merchant", "company", "supplier name 1", "recipient", "supplier beneficiary", "paid to",
    ),
    "supplier_id": (
        "supplier id", "supplier number", "supplier no", "vendor id", "vendor number", "creditor id", "company number",
        "vat registration number", "supplier vat number", "vat number", "charity number", "supplier code",
    ),
    "category": (
        "expenditure category", "expense category", "subjective", "subjective description", "account description", "account name", "type",
        "expense type", "category", "merchant category", "spend category", "cost element", "procurement category", "subjective group",
        "account code description", "proclass", "category internal name", "service category label", "purpose of expenditure",
        "purpose of spend", "expenditure type", "nominal description", "account", "level 2", "detail", "account code",
    ),
    "department": (
        "directorate", "department", "organisational unit", "service", "service label", "service area", "department family", "entity",
        "business unit", "cost centre", "cost centre description", "division", "expense area", "body", "body name", "organisation name",
        "organisation", "portfolio", "unit", "cost center", "responsible unit", "service division label", "section",
    ),
    "description": (
        "description", "payment description", "narrative", "details", "transaction description", "purpose", "invoice description",
        "line description", "item description", "comments", "summary of purpose of expenditure", "description of goods or services",
    ),
    "reference": (
        "transaction number", "transaction no", "trans no", "transaction id", "transaction reference", "payment reference", "payment number",
        "invoice number", "invoice no", "reference", "document number", "voucher number", "cheque number", "txn", "transaction ref",
        "doc no", "reference number", "number", "card transaction", "internal reference", "unique reference", "count",
    ),
}  # fmt: skip
"""Role to header keys, most telling first; ``(£)`` and words in brackets are ignored when a key does not fit whole."""

_SYMBOLS = {"£": "GBP", "€": "EUR", "$": "USD"}
_PUBLIC_SPENDING = re.compile(
    r"directorate|council|body|organisational unit|proclass|entity|department family|capital or revenue|cap rev"
)
_NOT_PAYMENTS = frozenset({"balance", "running balance", "saldo", "debit", "credit", "paid in", "money in"})
OPTION_ROLES = frozenset(ROLES)
"""Keys that a mapping option may use."""


def find(header: Sequence[str]) -> dict[str, int]:
    """Return the column of each role; a column serves one role."""
    whole = [_table.key(cell) for cell in header]
    short = [_table.key(re.sub(r"[(\[].*?[)\]]", "", cell)) for cell in header]
    at: dict[str, int] = {}
    for role, names in ROLES.items():
        for keys in (whole, short):
            free = [key if i not in at.values() else "" for i, key in enumerate(keys)]
            index = next((free.index(name) for name in names if name in free), None)
            if index is not None:
                at[role] = index
                break
    return at


def _certainty(header: Sequence[str]) -> float:
    """Return how surely the header is one of payments: a date, an amount, and who was paid or who paid."""
    at = find(header)
    keys = {_table.key(cell) for cell in header}
    if not {"day", "amount"} <= at.keys() or keys & _NOT_PAYMENTS:
        return 0.0
    evidence = len({"supplier", "department", "category", "supplier_id"} & at.keys())
    supplier = "supplier" in at
    public = bool(_PUBLIC_SPENDING.search(" ".join(sorted(keys))))
    return min(0.92, 0.3 + 0.2 * supplier + 0.12 * evidence + 0.25 * public) if supplier or public else 0.0


class PaymentsCsv:
    """Tables of supplier payments."""

    name = "payments-csv"
    title = "Supplier payments (accounts payable or open spending; CSV, XLSX)"
    kind = DocumentKind.PAYMENTS

    def sniff(self, head: Head) -> float:
        """Judge by the header row."""
        rows = _table.first_rows(head)
        if not rows and _table.is_workbook(head):
            return 0.2
        return max((_certainty(row) for row in rows), default=0.0)

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read the table.

        Args:
            document: Local CSV or XLSX file.
            options: ``mapping`` (JSON of role to header or column number from 1), ``currency``, ``date_order``,
                ``decimal``.

        Raises:
            Invalid: No date or amount column is found, or day and month could be swapped.
            TooLarge: It is over the size limit.
        """
        table = _table.read(document)
        rows = table.head()
        start, at = _columns(rows, options)
        header = rows[start]
        table = table.after(start + 1, repeated=header)
        frame, hint = _typed(table, at, header, options)
        shown = ", ".join(f"{role} from “{header[i]}”" for role, i in at.items())
        notes = [*table.notes, f"Columns: {shown}"]
        if rounded := _amounts.long_ones(frame.get_column("_amount")):
            notes.append(f"{rounded} amounts have more than 15 decimal places and were rounded at the 15th")
        if hint:
            notes.append(f"The file names no currency; {hint} was taken (option currency)")
        lines = _frame.finish(frame, _refusals(), schema=PAYMENT_LINES)
        return Parsed(PAYMENT_LINES, lines, table.problems, (), notes, hint)


def _columns(rows: list[list[str]], options: Mapping[str, str]) -> tuple[int, dict[str, int]]:
    certainties = [_certainty(row) for row in rows]
    best = max(range(len(rows)), key=lambda i: (certainties[i], -i), default=0)
    if option := options.get("mapping", ""):
        return best, _table.mapped(option, rows[best], OPTION_ROLES, required=({"day"}, {"amount"}))
    at = find(rows[best]) if rows else {}
    if not {"day", "amount"} <= at.keys():
        raise Invalid(
            "No column could be recognised as payment date and amount",
            'Say what the columns mean: option mapping, such as {"day": "Paid on", "amount": "Total", "supplier": "Firm"}',
        )
    return best, at


def _typed(
    table: _table.Table, at: Mapping[str, int], header: Sequence[str], options: Mapping[str, str]
) -> tuple[pl.DataFrame, str]:
    """Return typed rows and the currency that had to be assumed ("" when none had)."""
    texts = {role: table.rows.to_series(index).str.strip_chars() for role, index in at.items()}
    days = _dates.read(texts["day"], _table.one_of(options, "date_order", _dates.ORDERS))
    if not days.certain:
        raise Invalid(
            f"The dates could be day/month or month/day, such as “{(texts['day'].drop_nulls().to_list() or [''])[0][:20]}”",
            "Say which with the option date_order=DMY or date_order=MDY",
        )
    raw = texts["amount"]
    mark = _table.one_of(options, "decimal", frozenset({".", ","})) or _amounts.mark_of(raw)
    amount = _amounts.loose(raw, mark or ("," if table.delimiter == ";" else "."))
    currency, hint = _currency(texts, header, raw, options)
    words = {role: text for role, text in texts.items() if role not in {"day", "amount", "currency"}}
    frame = pl.DataFrame(
        {"row": table.lines, "_day": texts["day"], "day": days.values, "_amount": raw, "amount": amount}
    )
    return frame.with_columns(currency.alias("currency"), *[text.alias(role) for role, text in words.items()]), hint


def _currency(
    texts: Mapping[str, pl.Series], header: Sequence[str], raw: pl.Series, options: Mapping[str, str]
) -> tuple[pl.Series, str]:
    stated = _frame.currency_option(options)
    column = texts.get("currency")
    if column is not None and not stated:
        return column.str.to_uppercase(), ""
    if stated:
        return pl.Series([stated] * len(raw), dtype=pl.String), ""
    shown = " ".join(header) + "".join(str(value) for value in raw.head(200).drop_nulls())
    named = re.search(r"\b(GBP|EUR|USD|CHF|CAD|AUD)\b", " ".join(header).upper())
    hint = named[1] if named else next((code for sign, code in _SYMBOLS.items() if sign in shown), "")
    if not hint:
        keys = " ".join(_table.key(cell) for cell in header)
        hint = "GBP" if _PUBLIC_SPENDING.search(keys) else CURRENCY_DEFAULT
    return pl.Series([hint] * len(raw), dtype=pl.String), "" if named else hint


def _refusals() -> list[pl.Expr]:
    blank_day = pl.col("_day").fill_null("") == ""
    return [
        _frame.refusal(
            pl.col("day").is_null() & blank_day,
            "day",
            "the row has no date (a sub-total, or an incomplete row)",
            "Add the payment date",
        ),
        _frame.refusal(
            pl.col("day").is_null(),
            "day",
            pl.concat_str(_frame.shown("_day"), pl.lit(" is not a date of the calendar")),
            "Correct the date",
        ),
        _frame.refusal(
            pl.col("amount").is_null(),
            "amount",
            pl.concat_str(_frame.shown("_amount"), pl.lit(" is not an amount")),
            "Write it with digits and one decimal mark, such as 1234.50",
        ),
        _frame.refusal(
            pl.col("currency").is_null() | ~pl.col("currency").str.contains(r"^[A-Z]{3}$"),
            "currency",
            pl.concat_str(_frame.shown("currency"), pl.lit(" is not an ISO 4217 currency")),
            "Say which currency the payments are in (option currency)",
        ),
    ]
