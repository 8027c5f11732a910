"""What does not look like the past: detectors over all series at once, an alert budget, and exactly additive causes.

Start at :func:`bursar.ml.anomaly.detect.detect`. Deliberately absent: thresholds set by hand; the budget sets them.
"""
