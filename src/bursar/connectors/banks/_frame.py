"""From a frame of raw columns to the bank schema, with the reason beside every row that cannot be taken."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from bursar.kernel.errors import Invalid
from bursar.kernel.lines import BANK_LINES, REFUSED, LineSchema

ACCOUNT_UNNAMED = "unnamed"
"""The account of documents that name none, where no person said which it is."""

SHOWN_MAX = 40
"""Characters of an unreadable value shown in a problem."""


def shown(column: str) -> pl.Expr:
    """Return the offending text of ``column``, short and without the separator of :data:`REFUSED`."""
    text = pl.col(column).cast(pl.String).str.slice(0, SHOWN_MAX).str.replace_all("|", "/", literal=True)
    return pl.concat_str(pl.lit("“"), text.fill_null(""), pl.lit("”"))


def refusal(bad: pl.Expr, column: str, what: str | pl.Expr, fix: str) -> pl.Expr:
    """Return null where the row is fine, else ``column|what|fix``."""
    text = pl.lit(what) if isinstance(what, str) else what
    return pl.when(bad.fill_null(value=False)).then(pl.concat_str(pl.lit(column + "|"), text, pl.lit("|" + fix)))


def common_refusals(*, amount: str, day: str) -> list[pl.Expr]:
    """Return the checks of every bank format; ``amount`` and ``day`` name the raw text columns."""
    no_day = pl.col(day).is_null() | (pl.col(day).cast(pl.String).str.strip_chars() == "")
    no_amount = pl.col(amount).is_null() | (pl.col(amount).cast(pl.String).str.strip_chars() == "")
    return [
        refusal(
            pl.col("booking_date").is_null() & no_day, "booking_date", "the date is missing", "Add the booking date"
        ),
        refusal(
            pl.col("booking_date").is_null(),
            "booking_date",
            pl.concat_str(shown(day), pl.lit(" is not a date of the calendar")),
            "Correct the date",
        ),
        refusal(pl.col("amount").is_null() & no_amount, "amount", "the amount is missing", "Add the amount"),
        refusal(
            pl.col("amount").is_null(),
            "amount",
            pl.concat_str(shown(amount), pl.lit(" is not an amount")),
            "Write it with digits and one decimal mark, such as -1234.50",
        ),
        refusal(
            pl.col("currency").is_null() | ~pl.col("currency").str.contains(r"^[A-Z]{3}$"),
            "currency",
            pl.concat_str(shown("currency"), pl.lit(" is not an ISO 4217 currency")),
            "Say which currency the account is in (option currency)",
        ),
        refusal(
            pl.col("account").is_null() | (pl.col("account") == ""),
            "account",
            "the account is missing",
            "Say which account it is (option account)",
        ),
    ]


def finish(raw: pl.DataFrame, refusals: Sequence[pl.Expr], *, schema: LineSchema = BANK_LINES) -> pl.LazyFrame:
    """Bring ``raw`` into the schema: columns in order, empty text as null, the first refusal of each row.

    Args:
        raw: Shape (rows, …); columns of the schema that it lacks become null, others only feed ``refusals``.
        refusals: Expressions from :func:`refusal`, most telling first.
        schema: The target.
    """
    columns = [
        _column(raw, name, dtype).alias(name) if name in raw.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in schema.columns.items()
    ]
    reason = pl.coalesce(*refusals) if refusals else pl.lit(None, dtype=pl.String)
    return raw.select(*columns, reason.cast(pl.String).alias(REFUSED)).lazy()


def _column(raw: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String() and raw.schema[name] == pl.String():
        return pl.when(pl.col(name) != "").then(pl.col(name))
    return pl.col(name).cast(dtype)


def empty() -> pl.DataFrame:
    """Return no rows of the bank schema."""
    return pl.DataFrame(schema={name: dtype for name, dtype in BANK_LINES.columns.items()})  # noqa: C416


def currency_option(options: Mapping[str, str]) -> str:
    """Return the currency a person stated, or "".

    Raises:
        Invalid: It is not three letters.
    """
    stated = options.get("currency", "").strip().upper()
    if stated and not (len(stated) == 3 and stated.isascii() and stated.isalpha()):
        raise Invalid(f"The option currency is {stated[:20]!r}", "Give an ISO 4217 code such as EUR")
    return stated


def first(*values: str) -> str:
    """Return the first value that is not blank, stripped; "" when all are."""
    return next((value.strip() for value in values if value and value.strip()), "")


def joined(parts: Iterable[str], by: str = " ") -> str:
    """Join the parts that are not blank."""
    return by.join(part.strip() for part in parts if part and part.strip())


def identified(pairs: Iterable[tuple[str, str]]) -> str:
    """Return (scheme, value) pairs as ``counterparty_ids``; pairs without either are left out, an address gives its domain."""
    told = dict.fromkeys(
        f"{scheme}:{''.join(value.split())}" for scheme, value in pairs if scheme and value and value.strip()
    )
    hosts = [f"domain:{one.rpartition('@')[2]}" for one in told if one.startswith("email:") and "@" in one]
    return " ".join(dict.fromkeys([*told, *hosts]))


def identifiers(**columns: pl.Expr) -> pl.Expr:
    """Return whole columns of identifiers by scheme as ``counterparty_ids``; an address gives its domain too."""
    if "email" in columns:
        columns["domain"] = columns["email"].str.extract(r"@(.+)$")
    plain = {scheme: text.str.replace_all(r"\s", "") for scheme, text in columns.items()}
    told = [pl.when(text != "").then(pl.concat_str(pl.lit(f"{scheme}:"), text)) for scheme, text in plain.items()]
    return pl.concat_str(told, separator=" ", ignore_nulls=True)


def described(name: str, memo: str) -> pl.Expr:
    """Return name and memo as one description; a memo that begins with the name stands alone."""
    first, second = pl.col(name).fill_null(""), pl.col(memo).fill_null("")
    both = pl.concat_str(first, pl.lit(" "), second)
    return (
        pl.when(second == "")
        .then(first)
        .when((first == "") | second.str.starts_with(first))
        .then(second)
        .otherwise(both)
    )
