"""Bank movements understood: who was paid, what recurs, what was paid twice, what became dearer.

Invariants: reads the facts of the lake only and never changes them; every finding names the rows it rests on; amounts are
exact decimals. Deliberately absent: statement formats (connectors), books (ledger).
"""
