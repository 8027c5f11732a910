"""Counterparties under one identity, from the many spellings and numbers they appear under.

Invariants: a normalised name and an identifier each belong to exactly one party (primary keys); identifiers decide before
names; two parties are never joined silently below the stated certainty, a likelier pair is only suggested; merging and
splitting are recorded with what they moved and can be undone; a party once referred to keeps its id for ever.

Deliberately absent: enrichment from outside, deleting a party.
"""
