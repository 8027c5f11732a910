"""What is committed and not yet spent: open holds of the ledger, contracted cloud commitments, planned amounts.

Invariants: what a line of a source has paid is not committed any more; what cannot be decided is named and never counted.
Deliberately absent: making commitments (``ledger``, imports, the calendar do).
"""
