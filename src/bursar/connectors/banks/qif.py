"""QIF files of Quicken and many banks: cash-like accounts; the order of day and month is decided from the whole file.

Lines become one frame, records one grouping; no loop over rows. Source: the Quicken Interchange Format description.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from bursar.connectors.banks import _amounts, _balances, _dates, _frame, _table, _text
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid, Problem
from bursar.kernel.lines import BANK_LINES, DocumentKind, Parsed, Statement

CURRENCY_DEFAULT = "EUR"
"""QIF has no currency; taken unless a person says otherwise (USD where the dates are month first)."""

_CASH = r"(?i)^!type:\s*(bank|cash|ccard|oth a|oth l|oth s)\s*$"
_INVESTMENTS = r"(?i)^!type:\s*(invst|port)\s*$"
_HEADER = re.compile(r"(?im)^!(?:type:|account\b|option:|clear:)")
_FIRST_OF = {
    "_day": "D",
    "_total": "T",
    "_total_other": "U",
    "_payee": "P",
    "_memo": "M",
    "reference": "N",
    "_category": "L",
}


class Qif:
    """Quicken Interchange Format."""

    name = "qif"
    title = "QIF (Quicken)"
    kind = DocumentKind.BANK

    def sniff(self, head: Head) -> float:
        """Recognise a ``!Type:`` or ``!Account`` line."""
        text = head.text()
        if not _HEADER.search(text):
            return 0.0
        return 0.97 if re.search(r"(?m)^\^\s*$", text) else 0.6

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read the transactions of every cash-like account.

        Args:
            document: Local file.
            options: ``date_order`` (DMY, MDY, YMD), ``decimal``, ``currency``, ``account``.

        Raises:
            Invalid: There are no transactions, or day and month could be swapped.
            TooLarge: It is over the size limit.
        """
        decoded = _text.decode(_text.read_bytes(document))
        lines = _lines(decoded.value)
        records = _records(lines)
        problems = _left_out(records)
        cash = records.filter("_cash")
        if cash.is_empty() and not problems:
            raise Invalid("The file holds no transactions", "Export the transactions of an account, not only its lists")
        order = _table.one_of(options, "date_order", _dates.ORDERS)
        frame, days = _typed(cash, order, options)
        stated = _frame.currency_option(options)
        hint = "" if stated else ("USD" if days.order == "MDY" else CURRENCY_DEFAULT)
        frame = _balances.number_statements(frame.with_columns(pl.lit(stated or hint).alias("currency")))
        frame, statements, notes = _openings(frame)
        if hint:
            notes.append(f"QIF names no currency; {hint} was taken (option currency)")
        refusals = _frame.common_refusals(amount="_total", day="_day")
        return Parsed(BANK_LINES, _frame.finish(frame, refusals), problems, statements, (*decoded.notes, *notes), hint)


def _lines(text: str) -> pl.DataFrame:
    """Return the lines with number, first character, rest, the header in force and the number of their record."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    frame = pl.DataFrame({"text": text.split("\n")}, schema={"text": pl.String()}).with_row_index("line", offset=1)
    text_ = pl.col("text")
    ends = (text_.str.strip_chars_end() == "^") | text_.str.starts_with("!")
    return frame.select(
        pl.col("line").cast(pl.Int64),
        text_.str.slice(0, 1).alias("code"),
        text_.str.slice(1).str.strip_chars().alias("value"),
        pl.when(text_.str.starts_with("!")).then(text_.str.strip_chars()).forward_fill().alias("header"),
        ends.shift(1, fill_value=False).cum_sum().alias("record"),
    ).filter(~pl.col("code").is_in(["^", "!", ""]))


def _records(lines: pl.DataFrame) -> pl.DataFrame:
    """Group lines into records; ``account`` is the last ``!Account`` above, the first occurrence of a field counts."""
    value = pl.col("value")
    records = (
        lines.group_by("record", maintain_order=True)
        .agg(
            pl.col("line").first().alias("row"),
            pl.col("header").first(),
            *[value.filter(pl.col("code") == code).first().alias(name) for name, code in _FIRST_OF.items()],
            value.filter((pl.col("code") == "S") & (value != ""))
            .unique(maintain_order=True)
            .str.join(" | ")
            .alias("_splits"),
        )
        .drop("record")
    )
    header = pl.col("header").fill_null("")
    named = pl.when(header.str.contains(r"(?i)^!account\b")).then(pl.col("reference")).forward_fill()
    return records.with_columns(
        named.alias("account"),
        header.str.contains(_CASH).alias("_cash"),
        header.str.contains(_INVESTMENTS).alias("_investment"),
        ((header == "") & pl.col("_day").is_not_null() & pl.col("_total").is_not_null()).alias("_homeless"),
    )


def _left_out(records: pl.DataFrame) -> list[Problem]:
    problems = []
    for flag, what, fix in (
        ("_investment", "investment records are not cash rows and were not taken", "Import the trades as holdings"),
        (
            "_homeless",
            "records stand above any !Type line and were not taken",
            "Say the account type: a line such as !Type:Bank",
        ),
    ):
        rows = records.filter(flag)
        if rows.height:
            problems.append(Problem(f"{rows.height} {what}", fix, row=rows.item(0, "row")))
    return problems


def _typed(cash: pl.DataFrame, order: str, options: Mapping[str, str]) -> tuple[pl.DataFrame, _dates.Days]:
    total = cash.get_column("_total").fill_null(cash.get_column("_total_other"))
    days = _dates.read(cash.get_column("_day"), order)
    if not days.certain:
        sample = (cash.get_column("_day").drop_nulls().to_list() or [""])[0][:20]
        raise Invalid(
            f"The dates could be day/month or month/day, such as “{sample}”",
            "Say which with the option date_order=DMY or date_order=MDY",
        )
    mark = _table.one_of(options, "decimal", frozenset({".", ","})) or _amounts.mark_of(total)
    category, splits = pl.col("_category").fill_null(""), pl.col("_splits").fill_null("")
    transfer = pl.coalesce(category.str.extract(r"^\[(.*)\]"), splits.str.extract(r"^\[([^|]*)\]$"))
    no_category = (category == "") | category.str.contains(r"^\[|^--Split--$|^\|Split\|$")
    stated, default = options.get("account", "").strip(), _frame.ACCOUNT_UNNAMED
    own = pl.col("_category").filter(pl.col("_payee") == "Opening Balance").str.extract(r"^\[(.*)\]").first()
    account = pl.lit(stated) if stated else pl.coalesce(pl.col("account"), own, pl.lit(default))
    frame = cash.with_columns(
        total.alias("_total"),
        _amounts.loose(total, mark or ".").alias("amount"),
        days.values.alias("booking_date"),
        _frame.described("_payee", "_memo").alias("description"),
        pl.col("_payee").alias("counterparty_name"),
        transfer.alias("counterparty_account"),
        pl.when(no_category).then(pl.when(splits != "").then(splits)).otherwise(category).alias("category"),
        account.alias("account"),
        pl.lit("booked").alias("status"),
        pl.lit(None, dtype=pl.Decimal(38, 15)).alias("balance_after"),
    )
    return frame, days


def _openings(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Statement], list[str]]:
    """Take opening-balance records out of the rows and into the statements."""
    own = pl.col("_category").fill_null("") == pl.concat_str(pl.lit("["), pl.col("account"), pl.lit("]"))
    is_opening = own & (pl.col("_payee").fill_null("") == "Opening Balance") & pl.col("amount").is_not_null()
    openings = frame.filter(is_opening).unique("statement", keep="first", maintain_order=True)
    kept = frame.join(openings.select("row"), on="row", how="anti", maintain_order="left")
    by_statement = dict(zip(openings.get_column("statement"), openings.get_column("amount"), strict=True))
    statements, _ = _balances.statements(frame, reference="qif")
    statements = [
        Statement(s.account, s.currency, by_statement.get(number), None, s.opening_day, s.closing_day, s.reference)
        for number, s in enumerate(statements)
    ]
    notes = [f"{len(by_statement)} opening balances were read as such, not as movements"] if by_statement else []
    return kept, statements, notes
