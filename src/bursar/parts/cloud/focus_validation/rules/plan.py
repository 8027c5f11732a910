"""What to test for one file: every rule of the model with its test, its conditions and whether it applies at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bursar.parts.cloud.focus_validation.rules.groups import Group, OneValue
from bursar.parts.cloud.focus_validation.rules.headers import CUSTOM
from bursar.parts.cloud.focus_validation.rules.logic import (
    TRUE,
    Is,
    Logic,
    Null,
    Passes,
    Some,
    both,
    columns_of,
    either,
    implies,
    logic_of,
)
from bursar.parts.cloud.focus_validation.rules.model import Model, Rule
from bursar.parts.cloud.focus_validation.rules.readings import (
    CONDITIONS,
    READINGS,
    Every,
    Head,
    Many,
    Open,
    Reading,
    Row,
)


@dataclass(frozen=True, slots=True)
class Planned:
    """One rule and how it is decided.

    Exactly one of these is set: ``logic`` (a test of rows), ``group`` (over many rows), ``head`` (of names), ``column``
    (that must be there), ``verdict`` (settled without looking at rows: ``passed``, ``not_applicable``, ``undecided``),
    or none for a composite, which follows from its parts.
    """

    rule: Rule
    proof: bool = True
    logic: Logic | None = None
    group: Group | None = None
    head: str = ""
    column: str = ""
    verdict: str = ""
    why: str = ""


def met_criteria(model: Model, names: frozenset[str], supports: frozenset[str] | None) -> frozenset[str]:
    """Return the applicability criteria taken as met.

    Args:
        model: The rules.
        names: Columns of the file.
        supports: What the user says the provider supports; None to infer it: a criterion is met when the file has a
            column whose presence, or whose own rules, depend on it.
    """
    if supports is not None:
        return supports
    return frozenset(
        criterion
        for rule in model.rules.values()
        for criterion in rule.criteria
        if rule.requirement.get("ColumnName", rule.reference) in names
    )


def plan(model: Model, base: Model, names: Sequence[str], supports: frozenset[str] | None) -> list[Planned]:
    """Return every rule of ``model``, planned for a file with the columns ``names``; ``base`` is the model as read by us."""
    return Planner(model, base, names, supports).all()


class Planner:
    """Plans the rules of one model for one file."""

    def __init__(self, model: Model, base: Model, names: Sequence[str], supports: frozenset[str] | None) -> None:
        self.model = model
        self.names = frozenset(names)
        self.kinds = kinds(model, names)
        self.met = met_criteria(model, self.names, supports)
        self.texts = known_as(model, base)
        self._conditions: dict[str, Logic] = {}
        self._criteria: dict[str, frozenset[str]] = {}

    def all(self) -> list[Planned]:
        """Return every rule, planned."""
        return [self._planned(rule) for rule in self.model.rules.values()]

    def _planned(self, rule: Rule) -> Planned:  # noqa: PLR0911  one answer per kind
        missing = self._needed(rule.id) - self.met
        if missing:
            means = "; ".join(self.model.criteria.get(name, name).lower() for name in sorted(missing))
            why = f"only where it is so: {means} ({', '.join(sorted(missing))})"
            return Planned(rule, verdict="not_applicable", why=why)
        if rule.permits:
            return Planned(rule, verdict="passed", why="it permits and demands nothing")
        if rule.parts:
            return Planned(rule)
        if rule.function == "Presence":
            return Planned(rule, column=rule.requirement["ColumnName"])
        if rule.entity == "Column" and rule.reference not in self.names:
            return Planned(rule, verdict="not_applicable", why=f"the file has no column {rule.reference}")
        reading = READINGS.get(self.texts.get(rule.id, ""))
        if reading is None and rule.dynamic:
            why = "the model states it in words only and this version has no reading of them"
            return Planned(rule, verdict="undecided", why=why)
        return self._read(rule, reading) if reading else self._checked(rule)

    def _checked(self, rule: Rule) -> Planned:
        check = rule.requirement
        if check.get("CheckFunction") == "CheckDistinctCount":
            group = OneValue((check["ColumnAName"],), check["ColumnBName"], needed=True)
            return Planned(rule, group=group)
        demand = logic_of(check)
        if rule.function == "Validation" and isinstance(demand, Is | Some) and columns_of(demand) == {rule.reference}:
            demand = either((Null(rule.reference), demand))  # whether it may be missing is another rule's matter
        return Planned(rule, logic=implies(self.condition(rule.id), demand))

    def _read(self, rule: Rule, reading: Reading) -> Planned:  # noqa: PLR0911  one answer per kind
        match reading:
            case Open(why):
                return Planned(rule, verdict="undecided", why=why)
            case Head(test, proof):
                return Planned(rule, proof, head=test)
            case Many(group, proof):
                if not group.columns <= self.names:
                    lacking = ", ".join(sorted(group.columns - self.names))
                    return Planned(rule, verdict="not_applicable", why=f"the file has no column {lacking}")
                return Planned(rule, proof, group=group)
            case Every(kind, test, proof):
                logic = both(Passes(column, test) for column in self.kinds[kind])
                return Planned(rule, proof, logic=logic)
            case Row(logic, proof):
                if not columns_of(logic) & self.names:
                    return Planned(rule, verdict="not_applicable", why="the file has none of its columns")
                return Planned(rule, proof, logic=implies(self.condition(rule.id), logic))

    def condition(self, key: str) -> Logic:
        """Return the rows a rule applies to: its own condition and that of a composite above it."""
        if key not in self._conditions:
            rule = self.model.rules[key]
            own = CONDITIONS.get(self.texts.get(key, "")) or logic_of(rule.condition)
            above = [self.condition(parent) for parent in self.model.parents.get(key, ())]
            inherited = either(above) if above and TRUE not in above else TRUE
            self._conditions[key] = both((own, inherited))
        return self._conditions[key]

    def _needed(self, key: str) -> frozenset[str]:
        """Return the criteria a rule depends on: its own and those that every composite above it has."""
        if key not in self._criteria:
            above = [self._needed(parent) for parent in self.model.parents.get(key, ())]
            inherited = frozenset.intersection(*above) if above else frozenset[str]()
            self._criteria[key] = frozenset(self.model.rules[key].criteria) | inherited
        return self._criteria[key]


def kinds(model: Model, names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the columns of the file by kind: number, datetime, string, required, unit, keyvalue, category, custom."""
    there = frozenset(names)

    def checked(*functions: str) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(name for function in functions for name in model.checked_by(function) if name in there)
        )

    keyvalue = checked("FormatKeyValue", "FormatJSON")
    strings = tuple(name for name in checked("TypeString", "FormatString") if name not in keyvalue)
    required = frozenset(
        rule.requirement["ColumnName"]
        for rule in model.rules.values()
        if rule.function == "Nullability" and rule.keyword == "MUST NOT" and not rule.condition and rule.requirement
    )
    return {
        "number": checked("TypeDecimal", "FormatNumeric"),
        "datetime": checked("TypeDateTime", "FormatDateTime"),
        "string": strings,
        "required": tuple(name for name in strings if name in required),
        "unit": checked("FormatUnit"),
        "keyvalue": keyvalue,
        "category": tuple(name for name in strings if name.endswith("Category")),
        "custom": tuple(name for name in names if name.startswith(CUSTOM)),
    }


def known_as(model: Model, base: Model) -> Mapping[str, str]:
    """Return, for each rule, the id that the rule with the same words has in ``base``, for which the readings are made."""
    words = {rule.text: key for key, rule in base.rules.items()}
    same = {key: key for key, rule in model.rules.items() if key in base.rules and base.rules[key].text == rule.text}
    return {key: words[rule.text] for key, rule in model.rules.items() if rule.text in words} | same
