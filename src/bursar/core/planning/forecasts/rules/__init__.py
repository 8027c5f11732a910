"""Pure arithmetic of forecasts, by noun: what is stored of a run, numbers that a caller sends, what-if."""
