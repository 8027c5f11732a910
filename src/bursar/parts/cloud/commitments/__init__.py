"""How much to commit to: from the organisation's own lines and their forecast, at discounts that are listed, own or given.

Invariants: a plan covers only what no commitment covers yet; where its discount comes from is named; without any it is
refused, never guessed.

Deliberately absent: buying anything.
"""
