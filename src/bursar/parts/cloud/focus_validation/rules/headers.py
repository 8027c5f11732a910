"""Tests of the column names of a file."""

import re
from collections.abc import Callable, Sequence

NAME_CHARS_MAX = 50

CUSTOM = "x_"

ABBREVIATIONS = frozenset(
    [
        "Acct",
        "Amt",
        "Avg",
        "Chg",
        "Cnt",
        "Cur",
        "Curr",
        "Dt",
        "Desc",
        "Info",
        "Num",
        "Pct",
        "Prc",
        "Qty",
        "Svc",
        "Tot",
        "Usg",
    ]
)
"""Shortened words that do not belong in a column name."""

HeaderTest = Callable[[Sequence[str], frozenset[str]], list[str]]
"""From the names in file order and the columns that FOCUS defines, the names that break the rule."""


def plain(names: Sequence[str]) -> list[str]:
    """Return the names without the custom prefix, in order."""
    return [name for name in names if not name.startswith(CUSTOM)]


def custom(names: Sequence[str]) -> list[str]:
    """Return the custom columns, in order."""
    return [name for name in names if name.startswith(CUSTOM)]


def _pascal(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Z][A-Za-z0-9]*", name))


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", name)


def _after_custom(names: Sequence[str], defined: frozenset[str]) -> list[str]:
    """Return FOCUS columns that stand after the first column FOCUS does not define."""
    first = next((at for at, name in enumerate(names) if name not in defined), len(names))
    return [name for name in names[first:] if name in defined]


TESTS: dict[str, HeaderTest] = {
    "pascal": lambda names, _: [name for name in plain(names) if not _pascal(name)],
    "abbreviations": lambda names, _: [name for name in plain(names) if ABBREVIATIONS & set(_words(name))],
    "alphanumeric": lambda names, _: [name for name in plain(names) if not re.fullmatch(r"[A-Za-z0-9]+", name)],
    "acronyms": lambda names, _: [name for name in plain(names) if re.search(r"[A-Z]{2}", name)],
    "length": lambda names, _: [name for name in names if len(name) > NAME_CHARS_MAX],
    "suffix": lambda names, _: [name for name in plain(names) if re.search(r"(ID|Identifier|Number|Label)$", name)],
    "prefix": lambda names, defined: [name for name in plain(names) if name not in defined],
    "custom_rules": lambda names, _: [
        name for name in custom(names) if not _pascal(name.removeprefix(CUSTOM)) or len(name) > NAME_CHARS_MAX
    ],
    "focus_first": _after_custom,
}
"""Header tests by name."""
