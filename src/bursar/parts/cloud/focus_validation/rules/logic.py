"""Row logic: what a rule demands of a row, as a small tree, and how the model's check language becomes one."""

from collections.abc import Iterable
from dataclasses import dataclass

from bursar.kernel.errors import Invalid
from bursar.parts.cloud.focus_validation.rules.model import Check


@dataclass(frozen=True, slots=True)
class Null:
    """The column has no value."""

    column: str


@dataclass(frozen=True, slots=True)
class Is:
    """The column has one of the texts (a missing value has none)."""

    column: str
    texts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Equals:
    """The column is this number."""

    column: str
    number: float


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The column is a number not below ``number``; a missing value passes."""

    column: str
    number: float


@dataclass(frozen=True, slots=True)
class Same:
    """Two columns have the same value (two missing values are the same); ``numeric`` compares as numbers."""

    left: str
    right: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Before:
    """The left date and time is before the right one; a missing value passes."""

    left: str
    right: str
    or_equal: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """``left`` times ``right`` is ``result``, to the places in which ``result`` is written; a missing value passes."""

    left: str
    right: str
    result: str


@dataclass(frozen=True, slots=True)
class SameSign:
    """Two numbers are not of opposite sign, and neither is zero alone; a missing value passes."""

    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Passes:
    """The column's value passes the named test; a missing value passes."""

    column: str
    name: str


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    item: "Logic"


@dataclass(frozen=True, slots=True)
class All:
    """Every item holds; with no items, true."""

    items: tuple["Logic", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one item holds; with no items, false."""

    items: tuple["Logic", ...]


Logic = Null | Is | Equals | AtLeast | Same | Before | Product | SameSign | Passes | Not | All | Some

TRUE = All(())
FALSE = Some(())


def given(column: str) -> Logic:
    """Return: the column has a value."""
    return Not(Null(column))


def is_(column: str, *texts: str) -> Logic:
    """Return: the column is one of ``texts``."""
    return Is(column, frozenset(texts))


def implies(condition: Logic, demand: Logic) -> Logic:
    """Return: where ``condition`` holds, ``demand`` holds."""
    return either((Not(condition), demand))


def both(items: Iterable[Logic]) -> Logic:
    """Return the conjunction, flattened; a single item is itself."""
    flat = tuple(dict.fromkeys(part for item in items for part in (item.items if isinstance(item, All) else (item,))))
    return flat[0] if len(flat) == 1 else All(flat)


def either(items: Iterable[Logic]) -> Logic:
    """Return the disjunction, flattened; choices of texts of one column become one choice."""
    texts: dict[str, frozenset[str]] = {}
    rest: dict[Logic, None] = {}
    for item in items:
        for part in item.items if isinstance(item, Some) else (item,):
            if isinstance(part, Is):
                texts[part.column] = texts.get(part.column, frozenset()) | part.texts
            else:
                rest[part] = None
    flat = (*(Is(column, choice) for column, choice in texts.items()), *rest)
    return flat[0] if len(flat) == 1 else Some(flat)


NAMED_TESTS = {
    "TypeString": "any",
    "TypeDecimal": "decimal",
    "TypeDateTime": "datetime_readable",
    "CheckDecimalValue": "decimal",
    "FormatNumeric": "numeric",
    "FormatString": "unicode",
    "FormatDateTime": "datetime",
    "FormatUnit": "unit",
    "FormatCurrency": "currency",
    "CheckNationalCurrency": "national_currency",
    "FormatKeyValue": "json_flat",
    "FormatJSON": "json_object",
}
"""Check functions that look at one value, and the test that decides each."""


def logic_of(check: Check) -> Logic:  # noqa: PLR0911  one answer per kind
    """Compile a check of the model into row logic.

    Raises:
        Invalid: The model uses a check function that we do not know, or one that is not about rows.
    """
    function = check.get("CheckFunction")
    if function is None:
        return _without_function(check)
    if function == "AND":
        return both(logic_of(item) for item in check["Items"])
    if function == "OR":
        return either(logic_of(item) for item in check["Items"])
    if function in NAMED_TESTS:
        return Passes(check["ColumnName"], NAMED_TESTS[function])
    if function in {"CheckValue", "CheckNotValue"}:
        value = _value(check.get("ColumnName") or check["CheckCondition"], check["Value"])
        return value if function == "CheckValue" else Not(value)
    if function in {"CheckSameValue", "CheckNotSameValue"}:
        same = Same(check["ColumnAName"], check["ColumnBName"])
        return same if function == "CheckSameValue" else Not(same)
    if function == "CheckGreaterOrEqualThanValue":
        return AtLeast(check["ColumnName"], float(check["Value"]))
    if function == "ColumnByColumnEqualsColumnValue":
        return Product(check["ColumnAName"], check["ColumnBName"], check["ResultColumnName"])
    raise Invalid(f"The model uses the check {function}, which this version does not know.", "Update Bursar.")


def _without_function(check: Check) -> Logic:
    """Read ``{}`` (always) and the form ``{"AND": [...]}`` that some published conditions have."""
    parts: list[Logic] = []
    for key, items in check.items():
        several = items if isinstance(items, list) else [items]
        if key not in {"AND", "OR"}:
            raise Invalid(f"The model has a condition that cannot be read: {key}.", "Give a corrected model.")
        parts.append((both if key == "AND" else either)(logic_of(item) for item in several))
    return both(parts)


def _value(column: str, value: object) -> Logic:
    if value is None:
        return Null(column)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Equals(column, float(value))
    return Is(column, frozenset({str(value)}))


def columns_of(logic: Logic) -> frozenset[str]:
    """Return the columns that ``logic`` looks at."""
    if isinstance(logic, All | Some):
        return frozenset[str]().union(*(columns_of(item) for item in logic.items))
    if isinstance(logic, Not):
        return columns_of(logic.item)
    if isinstance(logic, Same | Before | SameSign):
        return frozenset({logic.left, logic.right})
    if isinstance(logic, Product):
        return frozenset({logic.left, logic.right, logic.result})
    return frozenset({logic.column})
