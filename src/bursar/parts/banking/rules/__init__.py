"""Decisions about bank movements, pure, by noun: payee names, recurring series, payments made twice."""
