"""What an organisation knows about days ahead: whose public holidays count, and what is planned.

Invariants: one calendar per organisation; what counted for a forecast is named in it. Deliberately absent: the effect of
a holiday (learned by ``ml``), holidays of a single series.
"""
