"""The published rule model: rules, conditions, dependencies and applicability, read from its JSON form."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bursar.kernel.errors import Invalid

MODEL_BYTES_MAX = 20_000_000
"""A model is about 600 kB; a file far beyond that is not one."""

Check = Mapping[str, Any]
"""One node of the model's own check language: ``{"CheckFunction": …, …}``."""

OBLIGATIONS = frozenset({"MUST", "MUST NOT"})
PERMISSIONS = frozenset({"MAY", "OPTIONAL"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        id: The published id, such as ``BilledCost-C-003-M``.
        function: Presence, Type, Nullability, Format, Validation or Composite.
        reference: The column, attribute or dataset the rule is about.
        entity: Column, Attribute or Dataset.
        criteria: Applicability criteria that must all be met by the provider.
        dynamic: The model states the rule in words only.
        keyword: MUST, MUST NOT, SHOULD, SHOULD NOT, RECOMMENDED or MAY.
        text: The requirement in words.
        requirement: The check; empty for a dynamic rule.
        condition: Rows the rule applies to; empty for all.
    """

    id: str
    function: str
    reference: str
    entity: str
    criteria: tuple[str, ...]
    dynamic: bool
    keyword: str
    text: str
    requirement: Check
    condition: Check

    @property
    def parts(self) -> tuple[str, ...]:
        """The rules a composite is made of; empty for any other rule."""
        if self.function != "Composite":
            return ()
        return tuple(item["ModelRuleId"] for item in self.requirement.get("Items", ()) if "ModelRuleId" in item)

    @property
    def obliges(self) -> bool:
        """Whether breaking the rule makes the file non-conformant (else it is advice or a permission)."""
        return self.keyword in OBLIGATIONS

    @property
    def permits(self) -> bool:
        """Whether the rule only allows something, so that nothing can break it."""
        return self.keyword in PERMISSIONS


@dataclass(frozen=True)
class Model:
    """All rules of one version, by id, and what each applicability criterion means."""

    version: str
    rules: Mapping[str, Rule]
    criteria: Mapping[str, str]

    @cached_property
    def parents(self) -> Mapping[str, tuple[str, ...]]:
        """For every rule, the composites that name it."""
        found: dict[str, list[str]] = {}
        for rule in self.rules.values():
            for part in rule.parts:
                found.setdefault(part, []).append(rule.id)
        return {part: tuple(parents) for part, parents in found.items()}

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """The columns the version defines, with the presence rule of each."""
        return {
            rule.requirement["ColumnName"]: rule.id
            for rule in self.rules.values()
            if rule.function == "Presence" and "ColumnName" in rule.requirement
        }

    def checked_by(self, function: str) -> tuple[str, ...]:
        """Return the columns that some rule checks with ``function``, such as ``TypeDecimal``."""
        found = {
            rule.requirement["ColumnName"]: None
            for rule in self.rules.values()
            if rule.requirement.get("CheckFunction") == function
        }
        return tuple(found)


def load_model(text: str | bytes) -> Model:
    """Read a rule model of any version from its JSON.

    Raises:
        Invalid: It is no JSON, has no ``ModelRules``, or a composite names a rule that is not there.
    """
    if len(text) > MODEL_BYTES_MAX:
        raise Invalid(f"A rule model is at most {MODEL_BYTES_MAX:,} bytes.", "Give the published model file.")
    try:
        document = json.loads(text)
        rules = {key: _rule(key, body) for key, body in document["ModelRules"].items()}
        details = document["Details"]
        criteria = {key: body.get("Description", "") for key, body in document.get("ApplicabilityCriteria", {}).items()}
        version = details.get("FOCUSVersion") or details["ModelVersion"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        fix = "Give the model file as the FinOps Foundation publishes it (model-1.2.json)."
        raise Invalid(f"This is not a FOCUS rule model: {error}.", fix) from error
    model = Model(str(version), rules, criteria)
    unknown = sorted(part for part in model.parents if part not in rules)
    if unknown:
        raise Invalid(f"The model names rules that it does not have: {', '.join(unknown[:5])}.", "Give a whole model.")
    _refuse_cycles(model)
    return model


def _rule(key: str, body: Mapping[str, Any]) -> Rule:
    validation = body["ValidationCriteria"]
    return Rule(
        id=key,
        function=body["Function"],
        reference=body["Reference"],
        entity=body.get("EntityType", ""),
        criteria=tuple(body.get("ApplicabilityCriteria") or ()),
        dynamic=body.get("Type") == "Dynamic",
        keyword=validation["Keyword"],
        text=validation["MustSatisfy"],
        requirement=validation.get("Requirement") or {},
        condition=validation.get("Condition") or {},
    )


def _refuse_cycles(model: Model) -> None:
    done: set[str] = set()

    def visit(key: str, path: Sequence[str]) -> None:
        if key in path:
            fix = "Give a corrected model."
            raise Invalid(f"The model's rules depend on each other in a circle: {' → '.join((*path, key))}.", fix)
        if key in done:
            return
        for part in model.rules[key].parts:
            visit(part, (*path, key))
        done.add(key)

    for key in model.rules:
        visit(key, ())
