"""Commitments of the books, and which of them rows have paid. Deliberately absent: settling them (``ledger``)."""
