"""Forecasts of many series at once: models behind one contract, chosen by backtest, with conformal intervals.

Start at :func:`bursar.ml.forecast.panel.forecast_panel`. Invariants: nothing after the origin is read; a series is served
by a model only where that model beat the declared baseline on earlier windows; the same input and seed give the same
answer. Deliberately absent: models per series in Python loops, and any clock, file or network.
"""
