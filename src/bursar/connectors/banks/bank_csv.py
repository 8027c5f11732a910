"""CSV and XLSX exports of banks, cards and wallets: known layouts, else columns found by name, else by content.

What a column means is decided once for the file and stated in the notes; what stays uncertain (day and month that
could be swapped) is refused with the option that settles it, never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bursar.connectors.banks import _amounts, _balances, _dates, _frame, _infer, _layouts, _roles, _table
from bursar.connectors.banks._layouts import Layout
from bursar.connectors.banks._roles import Roles
from bursar.connectors.banks._table import Table
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import BANK_LINES, DocumentKind, Parsed

CURRENCY_DEFAULT = "EUR"
"""Taken, and said in :attr:`Parsed.currency_hint`, where neither the file nor a person names a currency."""

_SYMBOLS = {"£": "GBP", "€": "EUR", "$": "USD", "¥": "JPY", "₹": "INR"}
_SYMBOL = f"([{''.join(_SYMBOLS)}])"
_OUT = ("debit", "dr", "d", "s", "soll", "af", "debet", "out", "dbit", "debito", "cargo")
_IN = ("credit", "cr", "c", "h", "haben", "bij", "in", "crdt", "credito", "abono")
_TYPES = frozenset({"type", "transaction type"})
_PENDING = ("pending", "processing", "authorised", "authorized", "open", "in progress", "vorgemerkt")
_NO_MONEY = (
    "failed",
    "declined",
    "denied",
    "cancelled",
    "canceled",
    "reverted",
    "voided",
    "expired",
    "returned to sender",
)
_IDENTIFIERS = ("creditor", "vat", "tax", "card_acceptor", "domain", "email")
_IBAN = r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b"
_ACCOUNT_LIKE = frozenset({"balance_after", "debit", "credit", "value_date", "counterparty_account", "side"})


@dataclass(frozen=True, slots=True)
class _Shape:
    """A table whose columns are understood."""

    table: Table
    roles: Roles
    layout: Layout | None
    header: list[str]
    preamble: str

    @property
    def name(self) -> str:
        return self.layout.name if self.layout else _frame.ACCOUNT_UNNAMED


class BankCsv:
    """Tables exported by banks, cards and wallets (PayPal, Stripe, Wise, Revolut …)."""

    name = "bank-csv"
    title = "Bank, card or wallet export (CSV, XLSX)"
    kind = DocumentKind.BANK

    def sniff(self, head: Head) -> float:
        """Judge by the header row: 0.9 for a known layout, less for columns that only look like a statement's."""
        rows = _table.first_rows(head)
        if not rows:
            return 0.3 if _table.is_workbook(head) else 0.0
        found = _header(rows)
        if found is None:
            return 0.35 if _infer.headerless(rows) else 0.0
        layout = _layouts.known(rows[found])
        if layout:
            return 0.9
        at = _roles.find(rows[found]).at
        return 0.55 + 0.1 * min(3, len(_ACCOUNT_LIKE & set(at)))

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read the table.

        Args:
            document: Local CSV or XLSX file.
            options: ``mapping`` (JSON of role to header or column number), ``currency``, ``account``, ``date_order``
                (DMY, MDY, YMD), ``decimal`` (``.`` or ``,``), ``sign`` (``spent-positive`` turns all amounts round).

        Raises:
            Invalid: No date or amount column is found, or day and month could be swapped.
            TooLarge: It is over the size limit.
        """
        shape = _understand(_table.read(document), options)
        if shape.layout and shape.layout.refuse:
            raise Invalid(
                f"The file is {shape.layout.refuse}, not a bank statement", "Export the bank account's transactions"
            )
        order = _table.one_of(options, "date_order", _dates.ORDERS)
        frame, notes, hint = _read_columns(shape, options, order)
        frame = _balances.number_statements(frame)
        whole = frame.filter(pl.col("status") == "booked")
        statements, doubts = _balances.statements(
            whole if whole.height == frame.height else frame, reference=shape.name
        )
        return Parsed(
            BANK_LINES,
            _frame.finish(frame, _refusals()),
            shape.table.problems,
            statements,
            (*shape.table.notes, *notes, *doubts),
            hint,
        )


def _header(rows: list[list[str]]) -> int | None:
    """Return the first row whose cells name a date and an amount."""
    return next((i for i, row in enumerate(rows) if _roles.find(row).usable), None)


def _understand(table: Table, options: Mapping[str, str]) -> _Shape:
    rows = table.head()
    at = _header(rows)
    if mapping := options.get("mapping", ""):
        at = at or 0
        return _Shape(
            table.after(at + 1, repeated=rows[at]), _roles.from_mapping(mapping, rows[at]), None, rows[at], ""
        )
    if at is not None:
        preamble = "\n".join(" ".join(row) for row in rows[:at])
        return _Shape(
            table.after(at + 1, repeated=rows[at]), _roles.find(rows[at]), _layouts.known(rows[at]), rows[at], preamble
        )
    if found := _infer.headerless(rows):
        return _Shape(table.after(0), found, None, [f"column {i + 1}" for i in range(table.rows.width)], "")
    raise Invalid(
        "No column could be recognised as date and amount",
        'Say what the columns mean: option mapping, such as {"booking_date": 1, "amount": 4, "description": 2}',
    )


def _text(shape: _Shape, role: str) -> pl.Series | None:
    index = shape.roles.at.get(role)
    return None if index is None else shape.table.rows.to_series(index).str.strip_chars()


def _read_columns(shape: _Shape, options: Mapping[str, str], order: str) -> tuple[pl.DataFrame, list[str], str]:
    """Return the rows with typed columns, notes, and the currency that had to be assumed."""
    rows = shape.table.rows
    texts = {role: text for role in shape.roles.at if (text := _text(shape, role)) is not None}
    booked = _dated(texts, shape, order)
    frame = pl.DataFrame(
        {"row": shape.table.lines, "_day": booked[0], "booking_date": booked[1], "value_date": booked[2]}
    )
    amount, raw, mark = _amount(texts, shape, options)
    frame = frame.with_columns(amount.alias("amount"), raw.alias("_amount"))
    if (running := texts.get("balance_after")) is not None:
        frame = frame.with_columns(_amounts.loose(running, mark or ".").alias("balance_after"))
    else:
        frame = frame.with_columns(pl.lit(None, dtype=pl.Decimal(38, 15)).alias("balance_after"))
    for role in ("counterparty_name", "counterparty_account", "counterparty_bank", "reference", "end_to_end_id", "bank_id",
                 "transaction_code", "category", "department"):  # fmt: skip
        if role in texts:
            frame = frame.with_columns(texts[role].alias(role))
    frame = frame.with_columns(_identifiers(texts, amount).alias("counterparty_ids"))
    words = _words(rows, shape.roles.descriptions)
    frame = frame.with_columns(words.alias("description"), _status(texts.get("status"), frame.height).alias("status"))
    frame = frame.with_columns(
        texts.get("status", pl.Series("s", [None] * frame.height, dtype=pl.String)).alias("_status"),
        _unsided(amount, raw, None if {"debit", "credit"} & texts.keys() else texts.get("side"), mark).alias("_side"),
    )
    currency, hint = _currency(texts, shape, options)
    account, note = _account(texts, shape, options)
    notes = [_columns_note(shape), *([note] if note else [])]
    if rounded := _amounts.long_ones(raw):
        notes.append(f"{rounded} amounts have more than 15 decimal places and were rounded at the 15th")
    if hint:
        notes.append(f"The file names no currency; {hint} was taken (option currency)")
    return frame.with_columns(currency.alias("currency"), account.alias("account")), notes, hint


def _identifiers(texts: Mapping[str, pl.Series], amount: pl.Series) -> pl.Series:
    """Return the identifiers of each row's counterparty; who was paid is told by the address that the money went to."""
    columns = {scheme: pl.lit(texts[scheme]) for scheme in _IDENTIFIERS if scheme in texts}
    if "email_to" in texts:
        sender = columns.get("email", pl.lit(None, dtype=pl.String))
        columns["email"] = pl.when(pl.lit(amount) < 0).then(pl.lit(texts["email_to"])).otherwise(sender)
    if not columns:
        return pl.Series([None] * len(amount), dtype=pl.String)
    return pl.select(_frame.identifiers(**columns)).to_series()


def _words(rows: pl.DataFrame, columns: list[int]) -> pl.Series:
    """Join the description columns of each row with blanks, exactly as written."""
    if not columns:
        return pl.Series([None] * rows.height, dtype=pl.String)
    cells = [pl.when(pl.col(f"c{i}") != "").then(pl.col(f"c{i}")) for i in columns]
    return rows.select(pl.concat_str(cells, separator=" ", ignore_nulls=True)).to_series()


def _columns_note(shape: _Shape) -> str:
    at = [*shape.roles.at.items(), *(("description", i) for i in shape.roles.descriptions)]
    certainty = (
        "a known layout"
        if shape.layout
        else "recognised by their names"
        if shape.preamble or shape.header
        else "by content"
    )
    return f"Columns ({certainty}): " + ", ".join(f"{role} from “{shape.header[i]}”" for role, i in at)


def _dated(texts: Mapping[str, pl.Series], shape: _Shape, order: str) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Return the booking date's text, the booking dates, the value dates.

    Raises:
        Invalid: Day and month could be swapped throughout.
    """
    order = order or (shape.layout.order if shape.layout else "")
    value = texts.get("value_date")
    main = texts.get("booking_date", value)
    assert main is not None
    if value is not None and "booking_date" in texts:
        main = pl.select(pl.when(main.fill_null("") != "").then(main).otherwise(value)).to_series()
    days = _dates.read(main, order)
    if not days.certain:
        raise Invalid(
            f"The dates could be day/month or month/day, such as “{(main.drop_nulls().to_list() or [''])[0][:20]}”",
            "Say which with the option date_order=DMY or date_order=MDY",
        )
    other = _dates.read(value, order or days.order) if value is not None else None
    values = other.values if other is not None else pl.Series([None] * len(main), dtype=pl.Date)
    return main, days.values, values


def _amount(
    texts: Mapping[str, pl.Series], shape: _Shape, options: Mapping[str, str]
) -> tuple[pl.Series, pl.Series, str]:
    """Return the signed amounts, their raw text and the decimal mark."""
    money = [texts[role] for role in ("amount", "debit", "credit", "balance_after") if role in texts]
    mark = _table.one_of(options, "decimal", frozenset({".", ","})) or _amounts.mark_of(pl.concat(money))
    mark = mark or ("," if shape.table.delimiter == ";" else "." if shape.table.delimiter in {"", "\t"} else "")
    paired = "debit" in texts or "credit" in texts
    if paired and not ("amount" in texts and shape.layout is None and _filled(texts["amount"])):
        amount, raw = _paired(texts, mark)
    else:
        raw = texts["amount"]
        header = shape.header[shape.roles.at["side"]] if "side" in texts else ""
        amount = _sided(_amounts.loose(raw, mark), texts.get("side"), header)
    for role in shape.layout.minus if shape.layout else ():
        if role in texts:
            amount = amount - _amounts.loose(texts[role], mark).fill_null(0)
    turned = (shape.layout is not None and shape.layout.spent_is_positive) != (
        _table.one_of(options, "sign", frozenset({"spent-positive", "as-is"})) == "spent-positive"
    )
    return (-amount if turned else amount), raw, mark


def _filled(text: pl.Series) -> bool:
    return bool((text.fill_null("") != "").all())


def _paired(texts: Mapping[str, pl.Series], mark: str) -> tuple[pl.Series, pl.Series]:
    """Join a debit and a credit column; a debit printed negative throughout is already signed."""
    blank = pl.Series([None] * len(next(iter(texts.values()))), dtype=pl.String)
    debit_text, credit_text = texts.get("debit", blank), texts.get("credit", blank)
    debit, credit = _amounts.loose(debit_text, mark), _amounts.loose(credit_text, mark)
    if (debit.fill_null(0) <= 0).all() and (debit.fill_null(0) < 0).any():
        debit = -debit
    frame = pl.DataFrame({"d": debit, "c": credit, "dt": debit_text.fill_null(""), "ct": credit_text.fill_null("")})
    unread = ((pl.col("dt") != "") & pl.col("d").is_null()) | ((pl.col("ct") != "") & pl.col("c").is_null())
    both_blank = (pl.col("dt") == "") & (pl.col("ct") == "")
    value = pl.when(~unread & ~both_blank).then(pl.col("c").fill_null(0) - pl.col("d").fill_null(0))
    raw = pl.when(pl.col("dt") != "").then(pl.col("dt")).otherwise(pl.col("ct"))
    read = frame.select(value.alias("value"), raw.alias("raw"))
    return read.get_column("value"), read.get_column("raw")


def _sided(amount: pl.Series, side: pl.Series | None, header: str) -> pl.Series:
    """Give unsigned amounts the sign of their debit/credit word; where such words tell the sign, a row without one has none.

    A column that is only called type tells the sign where it says of some row that money went out.
    """
    if side is None or (amount.fill_null(0) < 0).any():
        return amount
    words = side.str.to_lowercase()
    out, into = words.is_in(list(_OUT)).fill_null(value=False), words.is_in(list(_IN)).fill_null(value=False)
    if not out.any() and not (into.any() and _table.key(header) not in _TYPES):
        return amount
    return pl.select(pl.when(out).then(-amount).when(into).then(amount)).to_series()


def _unsided(amount: pl.Series, raw: pl.Series, side: pl.Series | None, mark: str) -> pl.Series:
    """Return the word that should have told the sign of an amount that could otherwise be read; else null."""
    if side is None:
        return pl.Series([None] * len(amount), dtype=pl.String)
    unsigned = amount.is_null() & _amounts.loose(raw, mark).is_not_null()
    return pl.select(pl.when(unsigned).then(side.fill_null(""))).to_series()


def _status(text: pl.Series | None, height: int) -> pl.Series:
    if text is None:
        return pl.Series(["booked"] * height, dtype=pl.String)
    word = text.str.to_lowercase()
    return pl.select(
        pl.when(word.is_in(list(_PENDING))).then(pl.lit("pending")).otherwise(pl.lit("booked"))
    ).to_series()


def _currency(texts: Mapping[str, pl.Series], shape: _Shape, options: Mapping[str, str]) -> tuple[pl.Series, str]:
    """Return the currency of each row, and the code that had to be assumed ("" when none had)."""
    stated = _frame.currency_option(options) or shape.roles.currency
    column = texts.get("currency")
    if column is not None and column.str.contains(r"^[A-Za-z]{3}$").fill_null(value=False).mean() not in (None, 0):
        upper = column.str.to_uppercase()
        return (
            upper
            if not stated
            else pl.select(pl.when(upper.fill_null("") != "").then(upper).otherwise(pl.lit(stated))).to_series()
        ), ""
    height = shape.table.rows.height
    if not stated:
        money = [text for role in ("amount", "debit", "credit") if (text := texts.get(role)) is not None]
        shown = pl.select(pl.coalesce(*[pl.lit(text).str.extract(_SYMBOL) for text in money])).to_series()
        if shown.drop_nulls().n_unique() > 1:  # each row says its own
            return shown.replace_strict(_SYMBOLS, default=None, return_dtype=pl.String), ""
        sample = " ".join(
            str(text.str.join("")[0])
            for role in ("amount", "debit", "credit", "balance_after")
            if (text := texts.get(role)) is not None and len(text)
        )
        symbol = next((code for sign, code in _SYMBOLS.items() if sign in sample), "")
        hint = symbol or (shape.layout.currency if shape.layout else "") or CURRENCY_DEFAULT
        return pl.Series([hint] * height, dtype=pl.String), hint
    return pl.Series([stated] * height, dtype=pl.String), ""


def _account(texts: Mapping[str, pl.Series], shape: _Shape, options: Mapping[str, str]) -> tuple[pl.Series, str]:
    """Return the account of each row: a person's word, the column, an IBAN above the table, else the layout's name."""
    import re

    height = shape.table.rows.height
    if stated := options.get("account", "").strip():
        return pl.Series([stated] * height, dtype=pl.String), ""
    found = re.search(_IBAN, shape.preamble)
    assumed = re.sub(r"\s", "", found[0]) if found else shape.name
    column = texts.get("account")
    if column is not None:
        return pl.select(pl.when(column.fill_null("") != "").then(column).otherwise(pl.lit(assumed))).to_series(), ""
    note = "" if found else f"The file names no account; its rows are kept under “{assumed}” (option account)"
    return pl.Series([assumed] * height, dtype=pl.String), note


def _refusals() -> list[pl.Expr]:
    word = pl.col("_status").str.to_lowercase().is_in(list(_NO_MONEY))
    what = pl.concat_str(pl.lit("the source says "), _frame.shown("_status"), pl.lit(": no money moved"))
    return [
        _frame.refusal(word, "status", what, "Nothing needs doing"),
        _frame.refusal(
            pl.col("_side").is_not_null(),
            "side",
            pl.concat_str(_frame.shown("_side"), pl.lit(" tells neither money in nor money out")),
            "Write credit or debit, as the other rows do",
        ),
        _frame.refusal(
            pl.col("amount").is_null() & pl.col("_amount").str.contains(r"^\D*\d{1,3}[.,]\d{3}\D*$"),
            "amount",
            pl.concat_str(_frame.shown("_amount"), pl.lit(" could be thousands or a fraction")),
            "Say which mark is the decimal one with the option decimal=. or decimal=,",
        ),
        *_frame.common_refusals(amount="_amount", day="_day"),
    ]
