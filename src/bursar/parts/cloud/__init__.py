"""Cloud, SaaS and AI bills: what they cost, why they changed, what to do about it, and whether the invoice is right.

Invariants: the parts of a bridge, of an allocation and of an invoice match sum exactly to their whole; the savings advised
on one resource never exceed what it costs; months are 730 hours; nothing is stored but what a person decided, every figure
is derived from the lines in the lake and can be thrown away.

Deliberately absent: a table per provider (connectors turn every bill into one line schema) and rates of exchange (amounts
of several currencies stay apart unless the caller brings rates).
"""
