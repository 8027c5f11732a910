"""The scoreboard: stored forecasts against what happened, alerts against what people said about them.

Invariants: a score compares what was stored when it was made, with the baseline stored beside it; nothing is refitted;
only periods that are over are scored. Deliberately absent: any influence of a score on a forecast already made.
"""
