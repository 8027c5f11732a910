"""Text in cells: what a spreadsheet shows and does not run."""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters that make a spreadsheet take a cell for a formula, or a continuation of one."""


def harmless(text: str) -> str:
    """Return text that a spreadsheet shows and does not run: a formula gets an apostrophe in front."""
    return "'" + text if text.startswith(FORMULA) else text
