"""The ledger: accounts and immutable transfers between them, per organisation.

Invariants, each held by the database and not by good manners:
every transfer debits one account and credits another of the same currency with the same amount, so each organisation
and currency sums to zero (composite foreign keys, and a trigger that refuses any change of account volumes that does not
balance); transfers are never changed or removed (trigger, and no right to); an account with a guard never passes it, holds
counted (check constraint on the account's own row); a hold is used up to its amount and no further, a transfer is reversed
up to its amount and no further (check constraint); an idempotency key names one content (unique key, digest); volumes are
changed by the very statement that writes the transfers, and re-proven by a job; committed batches form a hash chain.

Deliberately absent: stored balances other than those volumes, changing a transfer, amounts below a minor unit.
"""
