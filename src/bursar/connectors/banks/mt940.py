"""MT940 and MT942: SWIFT customer statements and interim reports, in the dialects of the banks.

The text is cut at its field tags; entries, their details and the structured sub-fields (German ``?20``, ``>20``, Dutch
``/REMI/``) are expressions over whole columns. Source: SWIFT MT940 format specification; DFÜ agreement, annex 3.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import polars as pl

from bursar.connectors.banks import _amounts, _frame, _mt940_details, _text
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid, Problem
from bursar.kernel.lines import BANK_LINES, DocumentKind, Parsed, Statement

_TAG = re.compile(r"(?m)^:(\d{2,3}[A-Z]?|NS):")
_SUM = re.compile(r"(\d{1,5})([A-Z]{3})([\d,.]+)")
_END_OF_MESSAGE = r"(?s)(?:^|\n)-(?:\}|X{3})?[ \t]*(?:\{5:.*|\n.*)?$"
_ENTRY = (
    r"^(?P<value_day>\d{6})(?P<entry>\d{4}|\s{4})?(?P<mark>R?[CD]|E[CD])(?P<funds>[A-Z])?[\n ]?(?P<amount>[\d,.]{1,24})"
    r"(?P<code>[A-Z][A-Z0-9 ]{3})?(?P<rest>[^\n]*)(?:\n(?P<more>(?s:.*)))?$"
)
_BALANCE = re.compile(r"^\s*([CD])\s*(\d{6})\s*([A-Z]{3})\s*([\d,.]*)")
_SIGNS = {"C": 1, "D": -1, "RC": -1, "RD": 1, "EC": 1, "ED": -1}
"""Effect on the balance; a reversed credit (RC) takes money away."""


class Mt940:
    """SWIFT statements."""

    name = "mt940"
    title = "MT940 or MT942 statement"
    kind = DocumentKind.BANK

    def sniff(self, head: Head) -> float:
        """Recognise field tags at the beginnings of lines."""
        tags = set(_TAG.findall(head.text().replace("\r\n", "\n")))
        if {"20", "25"} <= tags and tags & {"60F", "60M", "61", "62F", "34F", "28C", "28"}:
            return 0.98
        return 0.7 if tags & {"20", "25", "28C", "60F", "61", "62F", "64"} else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read every message of the file.

        Args:
            document: Local file.
            options: ``account`` and ``currency`` fill what a message lacks.

        Raises:
            Invalid: No statement field is in it.
            TooLarge: It is over the size limit.
        """
        decoded = _text.decode(_text.read_bytes(document))
        fields = _fields(decoded.value)
        if (
            not fields.get_column("tag")
            .is_in(["20", "25", "60F", "60M", "61", "62F", "62M", "64", "28", "28C", "86"])
            .any()
        ):
            raise Invalid("The file holds no MT940 statement", "Export it again from the bank")
        statements = _statements(fields, options)
        raw = _entries(fields)
        owners = pl.DataFrame(
            {
                "statement": range(len(statements)),
                "account": [s.account for s in statements],
                "currency": [s.currency for s in statements],
            },
            schema={"statement": pl.Int64(), "account": pl.String(), "currency": pl.String()},
        )
        raw = raw.join(owners, on="statement", how="left", maintain_order="left")
        return Parsed(
            BANK_LINES, _frame.finish(raw, _refusals()), _unlike_announced(fields, raw), statements, decoded.notes
        )


def _fields(text: str) -> pl.DataFrame:
    """Return one row per field: tag, value, line of its tag and the number of its message."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    parts = _TAG.split(text)
    before = parts[0].count("\n")
    frame = pl.DataFrame({"tag": parts[1::2], "value": parts[2::2]}, schema={"tag": pl.String(), "value": pl.String()})
    breaks = pl.col("value").str.count_matches("\n", literal=True).cast(pl.Int64)
    frame = frame.with_columns((breaks.cum_sum() - breaks + before + 1).alias("row"))
    frame = frame.filter(pl.col("tag").str.len_chars() < 4, pl.col("tag") != "940", pl.col("tag") != "942")
    message = ((pl.col("tag") == "20").cast(pl.Int64).cum_sum() - 1).clip(lower_bound=0)
    return frame.with_columns(pl.col("value").str.replace(_END_OF_MESSAGE, ""), message.alias("statement"))


def _statements(fields: pl.DataFrame, options: Mapping[str, str]) -> list[Statement]:
    """Return one statement per message: account, balances, reference."""
    wanted = fields.filter(~pl.col("tag").is_in(["61", "86", "NS"]))
    count = int(fields.get_column("statement").max() or 0) + 1  # type: ignore[arg-type]
    heads: list[dict[str, str]] = [{} for _ in range(count)]
    for number, tag, value in wanted.select("statement", "tag", "value").iter_rows():
        heads[number].setdefault(tag, value.strip())
    return [_statement(head, options) for head in heads]


def _statement(head: Mapping[str, str], options: Mapping[str, str]) -> Statement:
    opening = _BALANCE.match(head.get("60F") or head.get("60M") or "")
    closing = _BALANCE.match(head.get("62F") or head.get("62M") or "")
    named = next(
        (
            found[1]
            for found in (re.match(r"\d*([A-Z]{3})", head.get(tag, "")) for tag in ("34F", "90D", "90C"))
            if found
        ),
        "",
    )
    currency = opening[3] if opening else closing[3] if closing else named
    account = head.get("25") or head.get("25P") or ""
    return Statement(
        account=_frame.first(account.split("\n")[0], options.get("account", "")),
        currency=currency or _frame.currency_option(options),
        opening=_signed(opening),
        closing=_signed(closing),
        opening_day=_amounts.one_day(_century(opening[2])) if opening else None,
        closing_day=_amounts.one_day(_century(closing[2])) if closing else None,
        reference=" ".join(part for part in (head.get("20", ""), head.get("28C") or head.get("28") or "") if part),
    )


def _unlike_announced(fields: pl.DataFrame, raw: pl.DataFrame) -> list[Problem]:
    """Return what an interim report (MT942) announces in its fields 90D and 90C and does not hold."""
    problems = []
    announced = fields.filter(pl.col("tag").is_in(["90D", "90C"])).select("statement", "tag", "value", "row")
    for number, tag, value, line in announced.iter_rows():
        said = _SUM.match(value)
        total = _amounts.one_amount(said[3].rstrip(",.")) if said else None
        if said is None or total is None:
            continue
        sign = -1 if tag == "90D" else 1
        held = raw.filter(pl.col("statement") == number).get_column("amount").drop_nulls()
        same = [amount for amount in held if amount * sign > 0]
        there = abs(sum(same, Decimal(0)))
        if (len(same), there) != (int(said[1]), total):
            what = f"the report announces {said[1]} entries of {total.normalize():f} in {tag} and holds {len(same)} of {there.normalize():f}"
            problems.append(Problem(what, "Export it again from the bank", row=line, column=tag))
    return problems


def _signed(balance: re.Match[str] | None) -> Decimal | None:
    if balance is None:
        return None
    return _amounts.one_amount(("-" if balance[1] == "D" else "") + balance[4].rstrip(",."))


def _century(day: str) -> str:
    return ("19" if day[:2] >= "80" else "20") + day


def _entries(fields: pl.DataFrame) -> pl.DataFrame:
    """Return one row per statement line (61) with the details (86) that follow it."""
    main = pl.when(pl.col("tag") != "86").then(pl.col("tag")).forward_fill()
    marked = fields.with_columns(main.alias("main"), (pl.col("tag") == "61").cum_sum().alias("entry"))
    entries = marked.filter(pl.col("tag") == "61")
    details = (
        marked.filter((pl.col("tag") == "86") & (pl.col("main") == "61"))
        .group_by("entry", maintain_order=True)
        .agg(pl.col("value").str.strip_chars("\n ").str.join("\n").alias("details"))
    )
    frame = entries.join(details, on="entry", how="left", maintain_order="left")
    frame = frame.select("row", "statement", pl.col("value").alias("line"), "details")
    frame = frame.with_columns(pl.col("line").str.strip_chars_end().str.extract_groups(_ENTRY).alias("g")).unnest("g")
    return _typed(_mt940_details.read(frame))


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    sign = pl.col("mark").replace_strict(_SIGNS, default=None, return_dtype=pl.Int64)
    text = pl.concat_str(
        pl.when(sign < 0).then(pl.lit("-")).otherwise(pl.lit("")), pl.col("amount").str.strip_chars_end(",.")
    )
    digits = frame.select(text).to_series()
    year = pl.when(pl.col("value_day").str.slice(0, 2) >= "80").then(pl.lit("19")).otherwise(pl.lit("20"))
    frame = frame.with_columns(pl.concat_str(year, pl.col("value_day")).alias("_valued"), digits.alias("_amount"))
    valued = _amounts.compact_days(frame.get_column("_valued"))
    frame = frame.with_columns(valued.alias("value_date"), _decimal(digits).alias("amount"))
    return frame.with_columns(_entry_day().alias("booking_date"), pl.lit("booked").alias("status"))


def _decimal(digits: pl.Series) -> pl.Series:
    """Read SWIFT amounts: the comma is the decimal mark, always; a point only where a bank wrote one instead."""
    return _amounts.plain(digits.str.replace(",", ".", literal=True))


def _entry_day() -> pl.Expr:
    """Return the entry date (month and day only) in the year that brings it nearest to the value date."""
    valued, entry = pl.col("value_date"), pl.col("entry").str.strip_chars()
    year = valued.dt.year()
    candidates = [
        pl.concat_str((year + shift).cast(pl.String), entry).str.to_date("%Y%m%d", strict=False) for shift in (0, -1, 1)
    ]
    near = [pl.when((day - valued).dt.total_days().abs() < 183).then(day) for day in candidates]
    return pl.when(entry.str.len_chars() == 4).then(pl.coalesce(*near, valued)).otherwise(valued)


def _refusals() -> list[pl.Expr]:
    unread = pl.col("mark").is_null()
    what = pl.concat_str(_frame.shown("line"), pl.lit(" is not a statement line"))
    return [
        _frame.refusal(unread, "61", what, "Ask the bank for a valid MT940 file"),
        *_frame.common_refusals(amount="_amount", day="_valued"),
    ]
