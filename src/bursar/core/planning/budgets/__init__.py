"""Budgets over any filter of a source: actual, committed, forecast to the end with an interval, alerts told once.

Invariants: a threshold is told once per budget and period, whatever else happens; actual amounts are exact; amounts in
another currency than the budget's are named and never added. Deliberately absent: booking (``ledger``).
"""
