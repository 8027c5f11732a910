"""Models that are kept: trained, tried, promoted while they beat their baseline, served, and trained anew when it is time.

Invariants: an artefact is numbers, never code, and is checked against its card before it serves; what serves is named,
with the reason when it is not the newest; a panel that is interrupted goes on with the parts that are done.
Deliberately absent: the models themselves (``ml``), how their forecasts held (``scores``).
"""
