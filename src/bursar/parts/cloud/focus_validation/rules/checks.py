"""Tests of single values: numbers, dates, units, currencies and key-value texts, over distinct values at once."""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import polars as pl

DISTINCT_JSON_MAX: Final = 100_000
"""Distinct key-value texts whose flaws are remembered."""

DATA_UNITS = "b B Kb KB Kib KiB Mb MB Mib MiB Gb GB Gib GiB Tb TB Tib TiB Pb PB Pib PiB Eb EB Eib EiB".split()  # noqa: SIM905  a list of words
COUNT_UNITS = (  # noqa: SIM905  a list of words
    "Action API Call Certificate Connection Core Count Credit Domain Event Execution GPU Host Image Instance Invocation "
    "Item Key Message Minute Object Operation Page Point Processor Project Query Record Request Resource Rule Run Seat "
    "Secret Session Task Token Transaction Unit User vCPU VM Volume"
).split()
TIME_UNITS = "Year Quarter Month Week Day Hour Minute Second Millisecond".split()  # noqa: SIM905  a list of words

CURRENCIES = frozenset(
    (  # noqa: SIM905  a list of words
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD "
        "CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS "
        "GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT "
        "LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD "
        "OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP "
        "SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF "
        "XPF YER ZAR ZMW ZWG"
    ).split()
)
"""ISO 4217 codes of national currencies and their units of account."""

PLACEHOLDERS = frozenset(
    {"n/a", "na", "none", "not applicable", "not available", "unknown", "undefined", "nil", "-", "--", "tbd", "?"}
)

PROPERTIES: Final = {
    "CoreCount": float,
    "DiskMaxIops": float,
    "DiskSpace": float,
    "DiskType": str,
    "GpuCount": float,
    "InstanceType": str,
    "InstanceSeries": str,
    "MemorySize": float,
    "NetworkMaxIops": float,
    "NetworkMaxThroughput": float,
    "OperatingSystem": str,
    "Redundancy": str,
    "StorageClass": str,
}
"""SKU price properties that FOCUS defines, and the type of each."""


def _plural(words: list[str]) -> str:
    return "|".join(
        f"{word[:-1]}ies|{word}" if word.endswith("y") and word[-2] not in "aeiou" else f"{word}s?" for word in words
    )


_UNIT = rf"(?:{'|'.join(DATA_UNITS)}|{_plural(COUNT_UNITS)}|{_plural(TIME_UNITS)}|[A-Z][A-Za-z]*(?: [A-Z][A-Za-z]*)*)"
_TIME = rf"(?:{_plural(TIME_UNITS)})"
_KNOWN_CASE = {word.casefold(): word for word in COUNT_UNITS + TIME_UNITS}

PATTERNS: Final = {
    "numeric": r"^-?([0-9]+(\.[0-9]+)?|\.[0-9]+)([eE]-?[0-9]+)?$",
    "decimal": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$",
    "datetime": r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?Z$",
    "datetime_readable": r"^[0-9]{4}-[0-9][0-9]-[0-9][0-9]([T ][0-9][0-9]:[0-9][0-9](:[0-9][0-9](\.[0-9]+)?)?(Z|[+-][0-9][0-9]:?[0-9][0-9])?)?$",
    "zero": r"^-?0*(\.0*)?([eE]-?[0-9]+)?$",
    "has_t": r"^[0-9]{4}-[0-9][0-9]-[0-9][0-9]T",
    "two_digits": r"[T ][0-9][0-9]:[0-9][0-9]:[0-9][0-9](\D|$)",
    "ends_z": r"Z$",
    "midnight": r"[T ]00:00(:00(\.0+)?)?(Z|[+-][0-9][0-9]:?[0-9][0-9])?$|^[0-9]{4}-[0-9][0-9]-[0-9][0-9]$",
    "currency": r"^\S(.*\S)?$",
    "unit": rf"^([0-9]+ )?{_UNIT}([-–]{_TIME})?(/{_UNIT})?$",
    "readable": r"^[A-Z][^_]*$",
    "not_blank": r"\S",
}
"""Tests passed by a text in which the pattern is found."""

FORBIDDEN: Final = {
    "single_number": r"[\s;|]",
    "no_fraction": "/",
    "e_notation": r"(?i)[x*×]\s*10|\^",
    "no_plus_exponent": r"[eE]\+",
    "no_operators": r"[*^()=√%]",
    "no_qualifiers": r"[^-+0-9eE.,/x*^() ]",
    "no_commas": "[,'’_]",
    "no_leading_plus": r"^\s*\+",
    "minus_sign": r"^\(|[−–]|[0-9]-$",
    "utc": r"[T ].*[+-](0[1-9]|1[0-9]|0[0-9]:?(0[1-9]|[1-5][0-9]))",
    "not_inclusive": r"23:59(:59(\.[0-9]+)?)?(Z|[+-][0-9][0-9]:?[0-9][0-9])?$",
    "looks_numeric_and_is": r"^[+$€£]\s?[0-9.,]+$|^[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?$|^[0-9.,]+\s?[$€£%]$",
    "spot_free": r"(?i)\b(spot|preemptible|low.priority)\b",
    "unicode": "\ufffd",
}
"""Tests failed by a text in which the pattern is found."""

IMPLIED_BY: Final = dict.fromkeys(
    (
        *("decimal", "single_number", "no_fraction", "e_notation", "no_plus_exponent", "no_operators"),
        *("no_qualifiers", "no_commas", "no_leading_plus", "minus_sign"),
    ),
    "numeric",
) | dict.fromkeys(("datetime_readable", "utc", "has_t", "two_digits", "ends_z"), "datetime")
"""Tests that every text passes which passes a stricter one."""

Values = Callable[[pl.Series], pl.Series]


def test_values(name: str, values: pl.Series) -> pl.Series:
    """Return, for distinct text values (no nulls), whether each passes the test ``name``; shape (n,)."""
    if name in PATTERNS:
        return values.str.contains(PATTERNS[name])
    if name in FORBIDDEN:
        return ~values.str.contains(FORBIDDEN[name])
    return SPECIAL[name](values)


def _any(values: pl.Series) -> pl.Series:
    return pl.repeat(value=True, n=len(values), dtype=pl.Boolean, eager=True)


def _placeholder_free(values: pl.Series) -> pl.Series:
    return ~values.str.strip_chars().str.to_lowercase().is_in(list(PLACEHOLDERS)) & values.str.contains(r"\S")


def _unit_case(values: pl.Series) -> pl.Series:
    def right(text: str) -> bool:
        words = re.findall(r"[A-Za-z]+", text)
        stems = ((word, _KNOWN_CASE.get(word.casefold().removesuffix("s"))) for word in words)
        return all(stem is None or word.removesuffix("s") == stem for word, stem in stems)

    return pl.Series([text is None or right(text) for text in values], dtype=pl.Boolean)


def _unit_known(values: pl.Series) -> pl.Series:
    pattern = rf"^(\d+ )?({'|'.join(DATA_UNITS)}|{_plural(COUNT_UNITS)}|{_plural(TIME_UNITS)})([-–/]({_plural(COUNT_UNITS)}|{_plural(TIME_UNITS)}))*$"
    return values.str.contains(pattern)


@lru_cache(maxsize=DISTINCT_JSON_MAX)
def flaws(text: str) -> frozenset[str]:
    """Return what is wrong with a key-value text, as names of the tests that it fails."""
    found: set[str] = set()

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        if len({key for key, _ in items}) < len(items):
            found.add("json_unique")
        return dict(items)

    try:
        document = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return frozenset({"json_object", "json_flat"})
    if not isinstance(document, dict):
        return frozenset({"json_object", "json_flat"})
    if any(isinstance(value, dict | list) for value in document.values()):
        found |= {"json_flat", "json_scalars"}
    if any(value is None for value in document.values()):
        found.add("json_no_null")
    return frozenset(found | _property_flaws(document))


@lru_cache(maxsize=DISTINCT_JSON_MAX)
def prefixes(text: str) -> frozenset[str]:
    """Return the prefixes of the keys of a key-value text; an unprefixed key has the empty one."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return frozenset()
    if not isinstance(document, dict):
        return frozenset()
    found = (re.match(r"([^:/]+)[:/]", key) for key in document)
    return frozenset(match[1] if match else "" for match in found)


def _property_flaws(document: dict[str, object]) -> set[str]:
    found: set[str] = set()
    known = {name.casefold(): name for name in PROPERTIES}
    for key, value in document.items():
        plain = key.removeprefix("x_")
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", plain):
            found.add("json_pascal")
        name = known.get(plain.casefold())
        if name and key.startswith("x_") and name not in document:
            found.add("json_focus_property")
        if not key.startswith("x_") and name is None:
            found.add("json_prefix")
        if name and not key.startswith("x_") and key != name:
            found.add("json_spelling")
        if name == key and value is not None and not isinstance(value, _types(PROPERTIES[name])):
            found.add("json_type")
    return found


def _types(kind: type) -> tuple[type, ...]:
    return (int, float) if kind is float else (kind,)


def _json(name: str) -> Values:
    return lambda values: pl.Series([text is None or name not in flaws(text) for text in values], dtype=pl.Boolean)


JSON_TESTS: Final = frozenset(
    (
        *("json_object", "json_flat", "json_unique", "json_scalars", "json_no_null", "json_pascal"),
        *("json_focus_property", "json_prefix", "json_spelling", "json_type"),
    )
)
"""Tests of key-value texts; :func:`flaws` names those that a text fails."""

SPECIAL: Final[dict[str, Values]] = {
    "any": _any,
    "not_placeholder": _placeholder_free,
    "unit_case": _unit_case,
    "unit_known": _unit_known,
    "national_currency": lambda values: values.is_in(list(CURRENCIES)),
    **{name: _json(name) for name in JSON_TESTS},
}
"""Tests that need more than a pattern."""
