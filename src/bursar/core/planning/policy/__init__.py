"""How much an organisation wants to hear about its costs: alert budget, money floor, percent floor.

Invariants: one policy per organisation, the usual one while nobody set it; what a finding was told under is named in it.
Deliberately absent: what the budget does to p-values (``ml``), floors of other advisors.
"""
