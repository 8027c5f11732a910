"""How the server itself is doing: health, measured performance against recorded objectives, metrics.

Invariants: figures are about the server, never about an organisation's data; every process adds its own measurements to
the same minutes, so several workers add up; what is served as a share of requests within a budget is counted, not
estimated, because every budget is a bucket bound.

Deliberately absent: alerting on these figures (the metrics endpoint feeds whatever the operator has).
"""
