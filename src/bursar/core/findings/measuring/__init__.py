"""What a done saving really brought: the level at acceptance against the facts that came later.

Invariants: the level is taken from days before acceptance and kept, so that later facts cannot move the yardstick; nothing
is measured before enough whole weeks (months, for payments) of later facts are there; what cannot be measured says why.
Deliberately absent: how the facts behind a finding are read (the parts know; see :class:`rules.Daily`).
"""
