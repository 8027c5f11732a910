"""Decisions of cash, by noun."""
