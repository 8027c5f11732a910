"""What stands in the details (field 86) and the reference part (field 61) of MT940, by dialect."""

import polars as pl

from bursar.connectors.banks import _frame

_UNIT = "\x1f"
"""Put before each structured sub-field, so that it ends where the next begins."""

_STRUCTURED = r"^\d{3}([?>|+])\d{2}"
_PURPOSE = (*range(20, 30), *range(60, 64))
_SEPA = "EREF|KREF|MREF|CRED|DEBT|COAM|OAMT|SVWZ|ABWA|ABWE|IBAN|BIC"
_SLASHED = "ACCW|ADDR|BENM|BIC|CNTP|CREF|CSID|EREF|IBAN|ID|INST|ISDT|MARF|NAME|NRTX|ORDP|PREF|PURP|REMI|RTRN|SVCL|TRCD|TYPE|UDTR|ULTB|ULTC|ULTD"
_IBAN = r"\b([A-Z]{2}\d{2}[A-Z0-9]{11,30})\b"


def read(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the bank columns that the references and details hold.

    Args:
        frame: ``details`` (field 86) and the groups of the statement line (field 61).

    Returns:
        With ``description``, the counterparty columns and the references.
    """
    frame = _references(frame)
    details = pl.col("details").fill_null("")
    separator = details.str.extract(_STRUCTURED)
    flat = details.str.replace_all("\n", "", literal=True)
    frame = frame.with_columns(
        separator.alias("sep"),
        pl.when(separator.is_not_null()).then(flat.str.replace_all(r"[?>|+](\d{2})", _UNIT + "$1")).alias("parts"),
        details.str.replace_all(r"\s*\n\s*", " ").str.strip_chars().alias("plain"),
        flat.alias("flat"),
    )
    return _columns(frame).drop("sep", "parts", "plain", "flat")


def _references(frame: pl.DataFrame) -> pl.DataFrame:
    rest = pl.col("rest").fill_null("").str.replace(r"^" + _IBAN, "")
    customer = rest.str.extract(r"^((?:[^/]|/[^/])*)").str.slice(0, 16).str.strip_chars()
    after = rest.str.replace(r"^((?:[^/]|/[^/])*)", "")
    overflow = rest.str.extract(r"^(?:[^/]|/[^/]){16}((?:[^/]|/[^/])*)").str.strip_chars()
    bank = after.str.extract(r"^//(.{0,40})").str.strip_chars()
    none = ["NONREF", "", "EREF", "PREF", "MARF"]
    more = pl.col("more").fill_null("").str.strip_chars()
    return frame.with_columns(
        pl.when(~customer.is_in(none)).then(customer).alias("reference"),
        pl.when(~bank.is_in(none)).then(bank).alias("bank_id"),
        pl.when(overflow != "").then(overflow).alias("overflow"),
        more.alias("more"),
        pl.col("code").str.strip_chars().alias("transaction_code"),
    )


def _part(number: int) -> pl.Expr:
    return pl.col("parts").str.extract(rf"{_UNIT}{number:02d}([^{_UNIT}]*)").fill_null("")


def _sepa(purpose: pl.Expr, key: str) -> pl.Expr:
    return purpose.str.extract(rf"{key}\+\s?(.*?)(?:(?:{_SEPA})\+|$)").str.strip_chars()


def _slash(key: str) -> pl.Expr:
    found = pl.col("flat").str.extract(rf"/{key}/(.*?)(?:/(?:{_SLASHED})/|$)").str.strip_chars()
    return pl.when(found != "").then(found)


def _columns(frame: pl.DataFrame) -> pl.DataFrame:
    purpose = pl.concat_str([_part(number) for number in _PURPOSE])
    structured = pl.col("parts").is_not_null()
    frame = frame.with_columns(pl.when(structured).then(purpose).fill_null("").alias("purpose"))
    joined = pl.col("purpose")
    name = pl.concat_str(_part(32), _part(33))
    said = pl.coalesce(
        _sepa(joined, "SVWZ"),
        pl.when(joined.str.strip_chars() != "").then(joined.str.strip_chars()),
        pl.when(structured & (_part(0) != "")).then(_part(0)),
    )
    remitted = _slash("REMI").str.replace(r"^USTD//", "").str.strip_chars("/")
    plain = pl.when(pl.col("plain") != "").then(pl.col("plain"))
    dutch_iban = pl.coalesce(_slash("IBAN"), _slash("CNTP").str.extract(_IBAN))
    dutch_name = pl.coalesce(_slash("NAME"), pl.col("flat").str.extract(r"/CNTP/[^/]*/[^/]*/([^/]*)/"))
    knab = pl.col("plain").str.extract(r"/NAAM: (.*)$")
    last = pl.col("more").str.split("\n").list.last()
    holder = pl.when((last != "") & pl.col("plain").str.contains(last, literal=True)).then(last)
    polish = pl.col("plain").str.extract(r"; OD: (.*?)(?:  |; |$)").str.strip_chars()
    more_first = pl.when(pl.col("more").str.contains(r"[A-Za-z]{3}")).then(pl.col("more"))
    return frame.with_columns(
        pl.coalesce(said, remitted, plain, pl.col("overflow"), more_first).alias("description"),
        pl.coalesce(
            pl.when(structured & (name.str.strip_chars() != "")).then(name.str.strip_chars()), dutch_name, knab, pl.col("overflow"),
            holder, pl.when(polish != "").then(polish),
        ).alias("counterparty_name"),
        pl.coalesce(
            pl.when(structured & (_part(31) != "")).then(_part(31)), dutch_iban, pl.col("plain").str.extract(r"REK: " + _IBAN),
            pl.col("rest").str.extract(r"^" + _IBAN), pl.col("more").str.extract(r"^" + _IBAN),
            pl.col("plain").str.extract(r"^([A-Z]{2}\d{2}[A-Z]{4}\d{10})\b"),
        ).alias("counterparty_account"),
        pl.coalesce(pl.when(structured & (_part(30) != "")).then(_part(30)), _slash("BIC")).alias("counterparty_bank"),
        _frame.identifiers(creditor=pl.coalesce(_sepa(joined, "CRED"), _slash("CSID").str.strip_chars("/"))).alias("counterparty_ids"),
        pl.coalesce(_sepa(joined, "EREF"), _slash("EREF")).alias("end_to_end_id"),
    )  # fmt: skip
