"""Rows of the lake as transactions: their id, label, words; splits; closed periods. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from typing import Any, ClassVar
from uuid import UUID

import polars as pl

from bursar.kernel.errors import Invalid, Refusal
from bursar.parts.banking.rules.payees import payee_label

WORDS_MAX = 64
"""Words of one transaction that can be searched for."""
WORD_CHARS_MAX = 40
QUERY_WORDS_MAX = 8
SPLITS_MAX = 100
TAGS_MAX = 20
TAG_CHARS_MAX = 50
CATEGORY_CHARS_MAX = 120
NOTE_CHARS_MAX = 4_000

PAYABLES = "payables"
"""The account under which lines of accounts-payable exports stand."""

_WORD = re.compile(r"[^\W_]+")


@dataclass(eq=False)
class PeriodClosed(Refusal):
    """The books are closed up to {until}; a transaction of {day} cannot change."""

    status: ClassVar[int] = 409
    day: date
    until: date


def words_of(*texts: str) -> list[str]:
    """Return the distinct searchable words of some texts, at most 64: accents and case dropped, digits kept.

    The first words count when there are more; each is cut to 40 characters.
    """
    found: dict[str, None] = {}
    for text in texts:
        plain = "".join(c for c in unicodedata.normalize("NFKD", text[:20_000]) if not unicodedata.combining(c))
        for match in _WORD.finditer(plain.casefold()):
            found.setdefault(match[0][:WORD_CHARS_MAX])
            if len(found) == WORDS_MAX:
                return list(found)
    return list(found)


def asked_words(query: str) -> list[str]:
    """Return the words of a query; a word ending in ``*`` means every word that begins so and keeps its star.

    Raises:
        Invalid: There are more than 8 words.
    """
    found = []
    for piece in query.split():
        words = words_of(piece)
        star = piece.endswith("*") and bool(words)
        found += [*words[:-1], words[-1] + "*"] if star else words
    if len(found) > QUERY_WORDS_MAX:
        raise Invalid(f"A search has at most {QUERY_WORDS_MAX} words", fix="Keep the rarest of them.")
    return list(dict.fromkeys(found))


IDENTITY = {
    "bank": ("account", "booking_date", "amount", "currency", "status", "description", "reference"),
    "payment": ("day", "amount", "currency", "supplier", "description", "category", "department", "reference"),
}
"""Columns that identify a line, by dataset."""


def identified(lines: pl.LazyFrame, dataset: str) -> pl.LazyFrame:
    """Add ``_key``: what identifies a line, with the number of its occurrence among equal ones."""
    parts = [pl.col(name).cast(pl.String).fill_null("") for name in IDENTITY[dataset]]
    sized = [pl.concat_str([part.str.len_bytes().cast(pl.String), pl.lit(":"), part]) for part in parts]
    key = pl.concat_str([pl.lit(f"{dataset}|"), *sized])
    return (
        lines.with_columns(key.alias("_key"))
        .sort("_key", "batch", "row")
        .with_columns(
            pl.concat_str([pl.col("_key"), pl.lit("#"), pl.int_range(pl.len()).over("_key").cast(pl.String)]).alias(
                "_key"
            )
        )
    )


def _text(name: str) -> pl.Expr:
    """Return a text column without nulls; a NUL, which PostgreSQL cannot hold, becomes the replacement character."""
    return pl.col(name).fill_null("").str.replace_all("\x00", "\ufffd", literal=True)


_MARKED = r"(?i)\b(?:vat|ust|uid|tva|btw|iva|nif|cif|mwst|moms)\b[^\n]{0,16}?\b([a-z]{2,3}[-. ]?[0-9a-z](?:[.-]?[0-9a-z]){6,12})\b"
_SITE = (
    r"(?i)(?:^|[\s*/(,:@])(?:(?:https?://|www\.)((?:[a-z0-9-]{2,40}\.){1,3}[a-z]{2,6})|((?:[a-z0-9-]{2,40}\.){1,3}"
    r"(?:com|net|org|io|eu|app|dev|cloud|shop|store|online|info|biz|com\.[a-z]{2}|co\.uk|org\.uk)))\b"
)
"""A bare site counts under endings only that are no words: in Inv.no and Pago.de somebody forgot a blank."""


def told() -> pl.Expr:
    """Return what the text itself tells of the counterparty: a number marked as a VAT number, a site; as ``scheme:value``."""
    text = pl.concat_str(_text("counterparty_name"), pl.lit("\n"), _text("description"))
    number = text.str.extract(_MARKED)
    site = pl.coalesce(text.str.extract(_SITE, 1), text.str.extract(_SITE, 2)).str.to_lowercase()
    parts = [
        pl.concat_str(pl.lit("domain:"), site),
        pl.concat_str(pl.lit("vat:"), number.str.replace_all(r"[-. ]", "")),
    ]
    return pl.concat_str(parts, separator=" ", ignore_nulls=True)


def pairs_of(told: str) -> tuple[tuple[str, str], ...]:
    """Return (scheme, value) of identifiers written ``scheme:value`` with blanks between."""
    return tuple((scheme, value) for scheme, _, value in (one.partition(":") for one in told.split()) if value)


_IBAN = re.compile(r"[A-Z]{2}\d{2}")


def stated(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the identifiers that a row's own fields state of its counterparty; an account counts with its bank only."""
    account, bank = row["counterparty_account"], row["counterparty_bank"]
    found = [("iban", account)] if account else []
    found += [("account", f"{bank}:{account}")] if bank and account and not _IBAN.match(account) else []
    found += [("supplier", row["supplier_id"])] if row["supplier_id"] else []
    return (*found, *pairs_of(row["counterparty_ids"]))


def bank_rows(lines: pl.LazyFrame) -> pl.DataFrame:
    """Return the transactions of bank lines: the columns of :data:`COLUMNS` and ``_key``."""
    return (
        identified(lines, "bank")
        .select(
            "_key",
            "account",
            "booking_date",
            "value_date",
            "amount",
            pl.col("currency"),
            "status",
            payee_label().str.replace_all("\x00", "\ufffd", literal=True).alias("label"),
            _text("description").alias("description"),
            _text("counterparty_name").alias("counterparty_name"),
            _text("counterparty_account").alias("counterparty_account"),
            _text("counterparty_bank").alias("counterparty_bank"),
            _text("counterparty_ids").alias("counterparty_ids"),
            told().alias("told"),
            pl.coalesce(_text("reference").replace("", None), _text("end_to_end_id")).alias("reference"),
            _text("category").alias("source_category"),
            _text("department").alias("source_department"),
            pl.lit("").alias("supplier_id"),
            "batch",
            "row",
        )
        .collect()
    )


def payment_rows(lines: pl.LazyFrame) -> pl.DataFrame:
    """Return the transactions of payment lines, money out negative as everywhere in banking."""
    named = lines.with_columns(_text("supplier").alias("counterparty_name"))
    return (
        identified(named, "payment")
        .select(
            "_key",
            pl.lit(PAYABLES).alias("account"),
            pl.col("day").alias("booking_date"),
            pl.lit(None, dtype=pl.Date).alias("value_date"),
            -pl.col("amount"),
            "currency",
            pl.lit("booked").alias("status"),
            payee_label().str.replace_all("\x00", "\ufffd", literal=True).alias("label"),
            _text("description").alias("description"),
            "counterparty_name",
            *[pl.lit("").alias(name) for name in ("counterparty_account", "counterparty_bank", "counterparty_ids")],
            pl.concat_str(pl.lit("vat:"), _text("supplier_id")).alias("told"),
            _text("reference").alias("reference"),
            _text("category").alias("source_category"),
            _text("department").alias("source_department"),
            _text("supplier_id").alias("supplier_id"),
            "batch",
            "row",
        )
        .collect()
    )


def ids_of(keys: Iterable[str]) -> list[UUID]:
    """Return the id of each key: 128 bits of its BLAKE2b hash."""
    return [UUID(bytes=blake2b(key.encode(), digest_size=16).digest()) for key in keys]


def size_of(amount: Decimal) -> int:
    """Return the absolute amount in hundredths, rounded; what looking up by amount compares."""
    return min(int((abs(amount) * 100).to_integral_value()), 2**62)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a split transaction; the sign is that of the whole."""

    amount: Decimal
    category: str
    department: str = ""
    note: str = ""


def check_split(whole: Decimal, parts: Sequence[Part]) -> None:
    """Refuse parts that do not make the whole.

    Raises:
        Invalid: There is one part only, more than 100, one of zero, one without a category, or the sum is off.
    """
    if not 2 <= len(parts) <= SPLITS_MAX:
        raise Invalid(f"A split has 2 to {SPLITS_MAX} parts", fix="Send no parts to remove the split.")
    for part in parts:
        check_category(part.category)
        if part.amount == 0:
            raise Invalid("A part of a split cannot be zero")
        if len(part.note) > NOTE_CHARS_MAX or len(part.department) > CATEGORY_CHARS_MAX:
            raise Invalid("A note or department of the split is too long")
    off = sum((part.amount for part in parts), Decimal(0)) - whole
    if off:
        raise Invalid(
            f"The parts are off by {off.normalize():f}", fix=f"They must sum to {whole.normalize():f} exactly."
        )


def check_category(name: str) -> None:
    """Refuse a category without a name, too long, or with characters that cannot be shown."""
    if not 0 < len(name.strip()) <= CATEGORY_CHARS_MAX or not name.isprintable():
        raise Invalid(f"A category has 1 to {CATEGORY_CHARS_MAX} printable characters")


def check_tags(tags: Sequence[str]) -> list[str]:
    """Return the tags trimmed and each once; refuse too many, too long or unprintable ones."""
    clean = list(dict.fromkeys(tag.strip() for tag in tags))
    if len(clean) > TAGS_MAX or any(not 0 < len(tag) <= TAG_CHARS_MAX or not tag.isprintable() for tag in clean):
        raise Invalid(f"Up to {TAGS_MAX} tags of 1 to {TAG_CHARS_MAX} printable characters")
    return clean
