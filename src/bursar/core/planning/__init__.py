"""Series from facts, forecasts with intervals, anomalies as findings, budgets, and the record of what was predicted.

Invariants: a series is built from the lake's visible facts by one grouping and can be thrown away; a period that is not
over is never scored; what was forecast is stored when it is made and compared later, never refitted for the score.
Deliberately absent: model code (``ml``), what a cost or a payment means (parts).
"""
