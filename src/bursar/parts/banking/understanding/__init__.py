"""What a transaction was for: transfers, recurring series, counterparties, rules, a local model, then people.

Invariants: every answer names its stage, its certainty and the evidence; a row becomes automatic only where what people
reviewed and audited of its category keeps the books within the organisation's stated error; automatic rows teach nothing,
only people and blind audits do; a correction and what is learned from it are one transaction. Deliberately absent: sending
anything anywhere.
"""
