"""One key for the many spellings of a counterparty on statements."""

import polars as pl

_NOISE = (
    r"(?i)\b(card|visa|mastercard|debit|credit|purchase|payment|pos|sepa|direct|transfer|lastschrift|gutschrift|"
    r"ueberweisung|überweisung|kartenzahlung|ref|reference|invoice|inv|rechnung|nr|no|to|from|ltd|gmbh|inc|llc|bv|ag|sa|as|a/s)\b"
)
"""Words that say how, not who."""

KEY_CHARS_MAX = 40


def payee_key() -> pl.Expr:
    """Return the expression of a stable payee key.

    The counterparty's name, else the description, without digits, punctuation and the words of :data:`_NOISE`, in lower
    case; where nothing is left, the counterparty's account. The name comes first: a supplier that is suddenly paid at
    another account must stay the same supplier, or nobody would notice.
    """
    text = pl.coalesce(
        pl.col("counterparty_name").replace("", None), pl.col("description").replace("", None), pl.lit("unnamed")
    )
    words = (
        text.str.to_lowercase()
        .str.replace_all(r"[0-9]+", " ")
        .str.replace_all(_NOISE, " ")
        .str.replace_all(r"[^\p{L}]+", " ")
        .str.strip_chars()
        .str.slice(0, KEY_CHARS_MAX)
    )
    rest = pl.coalesce(pl.col("counterparty_account").replace("", None), text.str.slice(0, KEY_CHARS_MAX))
    return pl.when(words == "").then(rest).otherwise(words)


def payee_label() -> pl.Expr:
    """Return the expression of the name shown to people, at most 60 characters."""
    return (
        pl.coalesce(
            pl.col("counterparty_name").replace("", None), pl.col("description").replace("", None), pl.lit("unnamed")
        )
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
        .str.slice(0, 60)
    )
