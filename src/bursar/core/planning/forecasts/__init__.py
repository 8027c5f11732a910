"""Forecasts of every series, stored when they are made, and forecasts of numbers that a caller sends.

Invariants: the forecasts of one run add up: children sum to their parent at every level and step, exactly, in the stored
units; a run is known by the hash of its data, so the same facts are never forecast twice; what was predicted is never
changed afterwards. Deliberately absent: models (``ml``), the comparison with what happened (``scores``).
"""
