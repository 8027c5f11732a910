"""Tags that a line inherits: rules give a default to what carries no tag of its own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from bursar.kernel.errors import Invalid
from bursar.parts.cloud.rules.dimensions import TAG, dimension, tag
from bursar.parts.cloud.rules.filters import parse_filter

TAG_RULES_MAX = 200
VALUE_CHARS_MAX = 256


@dataclass(frozen=True, slots=True)
class TagRule:
    """Where a line has no tag ``key`` and the filter ``where`` keeps it, the tag is ``value``, or what ``source`` says.

    Attributes:
        key: The tag.
        value: The default, literally; empty when ``source`` is given.
        source: A dimension whose value is inherited, such as ``account_name`` or ``tag:resource_group``.
        where: A filter over what the bill says itself; empty keeps every line. Inherited tags do not count in it.
    """

    key: str
    value: str = ""
    source: str = ""
    where: str = ""

    def __post_init__(self) -> None:
        """Refuse a rule that cannot be applied."""
        tag(self.key)
        parse_filter(self.where)
        if bool(self.value) == bool(self.source):
            raise Invalid(f"the rule for the tag {self.key} gives no value, or two", "Give either a value or a source.")
        if len(self.value) > VALUE_CHARS_MAX:
            raise Invalid(f"the value of the tag {self.key} is too long", f"Use up to {VALUE_CHARS_MAX} characters.")
        if self.source:
            dimension(self.source)
            if self.source.strip().lower() in {"day", "month", f"{TAG}{self.key}".lower()}:
                raise Invalid(f"the tag {self.key} cannot inherit from {self.source}", "Name another dimension.")

    def __str__(self) -> str:
        """Say the rule in words."""
        said = f"is {json.dumps(self.value, ensure_ascii=False)}" if self.value else f"is taken from {self.source}"
        return f"a missing tag {self.key} {said}" + (f" where {self.where}" if self.where.strip() else "")


def inherited(query: exp.Query, rules: Sequence[TagRule]) -> exp.Query:
    """Return the query with every tag that it reads completed by the rules, the first that fits.

    Rules read what the bill says itself, so their order alone decides and none can call another.
    """
    by_key: dict[str, list[TagRule]] = {}
    for rule in rules:
        by_key.setdefault(rule.key, []).append(rule)

    def completed(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.JSONExtractScalar) or (mine := by_key.get(_key(node))) is None:
            return node
        case = exp.Case()
        for rule in mine:
            given = exp.Literal.string(rule.value) if rule.value else dimension(rule.source)
            case = case.when(parse_filter(rule.where) or exp.true(), given)
        own = exp.Nullif(this=node.copy(), expression=exp.Literal.string(""))
        return exp.func("coalesce", own, case)

    if not by_key:
        return query
    whole = query.transform(completed)
    assert isinstance(whole, exp.Query)
    return whole


def _key(node: exp.JSONExtractScalar) -> str:
    """Return the tag that the expression reads."""
    return str(node.expression.expressions[-1].this)


def applied(query_names: Sequence[str], where: str, rules: Sequence[TagRule]) -> list[str]:
    """Return in words the rules that a question by some dimensions, of lines kept by a filter, is answered with."""
    text = " ".join(query_names) + " " + where
    return [str(rule) for rule in rules if f"{TAG}{rule.key}".lower() in text.lower()]
