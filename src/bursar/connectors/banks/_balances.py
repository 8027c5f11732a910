"""Statements of a table without balance lines: one per account and currency, balances from the running column."""

import polars as pl

from bursar.kernel.lines import Statement


def number_statements(frame: pl.DataFrame) -> pl.DataFrame:
    """Add ``statement``: the number of each row's (account, currency) in order of first appearance."""
    owners = frame.select("account", "currency").unique(maintain_order=True).with_row_index("statement")
    return frame.join(
        owners.with_columns(pl.col("statement").cast(pl.Int64)),
        on=["account", "currency"],
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )


def statements(frame: pl.DataFrame, *, reference: str) -> tuple[list[Statement], list[str]]:
    """Return the statements of numbered rows, and notes on running balances that do not add up.

    A running balance proves the order of the rows: oldest first when each balance is the one above plus the amount,
    newest first when it is the one below plus the amount. Opening and closing are stated only when exactly one of the
    two holds for every row.
    """
    balance, amount, owner = pl.col("balance_after"), pl.col("amount"), "statement"
    checks = frame.with_columns(
        (balance.shift(1).over(owner) + amount == balance).fill_null(value=False).alias("_down"),
        (balance.shift(-1).over(owner) + amount == balance).fill_null(value=False).alias("_up"),
    )
    grouped = checks.group_by(owner, maintain_order=True).agg(
        pl.col("account", "currency").first(),
        (pl.col("_down").sum() == pl.len() - 1).alias("oldest_first"),
        (pl.col("_up").sum() == pl.len() - 1).alias("newest_first"),
        (balance.is_not_null() & amount.is_not_null()).all().alias("complete"),
        balance.is_not_null().any().alias("some"),
        pl.len().alias("rows"),
        *[
            getattr(pl.col(name), end)().alias(f"{name}_{end}")
            for name in ("balance_after", "amount")
            for end in ("first", "last")
        ],
        pl.col("booking_date").min().alias("from"),
        pl.col("booking_date").max().alias("to"),
    )
    found: list[Statement] = []
    notes: list[str] = []
    for row in grouped.iter_rows(named=True):
        proven = row["complete"] and (row["oldest_first"] != row["newest_first"] or row["rows"] == 1)
        down = row["oldest_first"]
        opening = closing = None
        if proven:
            first, last = ("first", "last") if down else ("last", "first")
            opening = row[f"balance_after_{first}"] - row[f"amount_{first}"]
            closing = row[f"balance_after_{last}"]
        elif row["some"]:
            notes.append(
                f"The running balance of account {row['account']} does not prove the rows complete: it does not follow from them"
            )
        found.append(
            Statement(row["account"] or "", row["currency"] or "", opening, closing, row["from"], row["to"], reference)
        )
    return found, notes
