"""Reports and exports derived from transfers; nothing here is stored.

Invariants: a balance at any (value date, known date) is the sum of the transfers with a value date up to the one that were
recorded up to the other; every report balances by currency or says so by failing; amounts of different currencies are
added only at a stated rate. Deliberately absent: rounding of reports, cached balances.
"""
