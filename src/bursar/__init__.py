"""Bursar: facts in, findings out, score kept.

The folders are the floors of the house; ``ARCHITECTURE.md`` draws them and import-linter holds them.
"""

__version__ = "0.1.0"
