"""The audit trail: who changed what and when, provable.

A change of state records an entry in its own transaction (:func:`bursar.core.audit.service.record`). Entries are never
changed or removed: the application's role may only add and read them, and a trigger stops every other role. Each second a
sealer takes the entries whose transactions have ended (those below the xmin horizon) into blocks: one hash over the rows
as stored, chained to the block before and signed with Ed25519. A chain from row to row would have to hold the
organisation's lock through every business transaction; blocks do not.

The head of each chain is also kept outside of the database (:mod:`bursar.core.audit.service` ``Anchors``), which is what
gives away a cut tail or a rewritten history. What nobody can prove is the second between commit and seal.

Deliberately absent: reading back state from the trail (it is evidence, not event sourcing), and removal of single entries.
"""
