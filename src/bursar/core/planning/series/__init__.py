"""The hierarchy of series: total, then provider, account and service (or department and category), from one grouping.

Invariants: only days that are over count; one panel per source and currency; a parent is the sum of all its facts.
Deliberately absent: stored series. They are built from the lake's visible files and cached by the set of these files.
"""
