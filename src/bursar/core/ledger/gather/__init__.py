"""Group commit: concurrent single transfers of one process share a transaction, and a failing one fails alone.

Invariants: a caller hears "recorded" only after the commit; each order keeps its own key, actor and refusal; at most one
transaction of an organisation is open here at a time. Deliberately absent: a timer. While one transaction commits, the
next orders gather by themselves, so an idle ledger answers at once and a busy one fills its batches.
"""
