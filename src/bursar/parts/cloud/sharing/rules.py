"""The document of rules, and how shared pools are split over the groups of an answer; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from enum import StrEnum
from typing import Any

from bursar.kernel.errors import Invalid, TooLarge
from bursar.kernel.money import decimal_from
from bursar.parts.cloud.rules import allocation
from bursar.parts.cloud.rules.dimensions import dimension
from bursar.parts.cloud.rules.filters import parse_filter
from bursar.parts.cloud.rules.inheritance import TAG_RULES_MAX, TagRule

SPLIT_RULES_MAX = 50
WEIGHTS_MAX = 1000
NAME_CHARS_MAX = 100
TIMES = frozenset({"day", "month"})
UNIT_PLACES = Decimal("1e-15")


class Method(StrEnum):
    """How shared cost is split; ``usage`` weighs by an imported quantity."""

    FIXED = "fixed"
    EVEN = "even"
    PROPORTIONAL = "proportional"
    USAGE = "usage"


@dataclass(frozen=True, slots=True)
class SplitRule:
    """The cost of lines that ``shared`` keeps is split among the values of ``by``.

    Attributes:
        name: By which a question asks for it.
        by: A dimension, such as ``tag:team``.
        shared: A filter; it must keep something out.
        method: How.
        weights: For ``fixed``: weight by target.
        measure: For ``usage``: the imported quantity whose targets are values of ``by``.
    """

    name: str
    by: str
    shared: str
    method: Method = Method.PROPORTIONAL
    weights: Mapping[str, Decimal] = field(default_factory=dict)
    measure: str = ""

    def __post_init__(self) -> None:
        """Refuse a rule that cannot be applied."""
        if not self.name.strip() or len(self.name) > NAME_CHARS_MAX:
            raise Invalid("a split needs a name", f"Use 1 to {NAME_CHARS_MAX} characters.")
        dimension(self.by)
        if self.by.strip().lower() in {*TIMES, "currency"}:
            raise Invalid(f"{self.name}: cost cannot be split by {self.by}", "Split by who bears it.")
        if parse_filter(self.shared) is None:
            raise Invalid(
                f"{self.name}: nothing says what is shared", 'Give a filter, such as service = "AWS Support".'
            )
        if len(self.weights) > WEIGHTS_MAX:
            raise TooLarge(f"The weights of {self.name}", WEIGHTS_MAX, "targets")
        if (self.method is Method.FIXED) != bool(self.weights):
            raise Invalid(f"{self.name}: weights belong to the method fixed", "Give weights, or another method.")
        if self.weights and (min(self.weights.values()) < 0 or not any(self.weights.values())):
            raise Invalid(f"{self.name}: weights are negative or all zero", "Give weights such as 60 and 40.")
        if (self.method is Method.USAGE) != bool(self.measure):
            raise Invalid(f"{self.name}: a measure belongs to the method usage", "Name the quantity that weighs.")

    def __str__(self) -> str:
        """Say the rule in words."""
        how = {
            Method.FIXED: "by fixed weights",
            Method.EVEN: "evenly",
            Method.PROPORTIONAL: "in proportion to their own cost",
            Method.USAGE: f"by the quantity {self.measure}",
        }[self.method]
        return f"{self.name}: cost where {self.shared} is split among the values of {self.by} {how}"


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Every rule of an organisation, in order."""

    tags: tuple[TagRule, ...] = ()
    splits: tuple[SplitRule, ...] = ()

    def __post_init__(self) -> None:
        """Refuse too many rules, or two splits of one name."""
        if len(self.tags) > TAG_RULES_MAX:
            raise TooLarge("The list of tag rules", TAG_RULES_MAX, "rules")
        if len(self.splits) > SPLIT_RULES_MAX:
            raise TooLarge("The list of splits", SPLIT_RULES_MAX, "rules")
        names = [rule.name for rule in self.splits]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise Invalid(f"two splits are called {twice[0]}", "Give each its own name.")

    def chosen(self, names: Sequence[str]) -> tuple[SplitRule, ...]:
        """Return the splits of some names, in the order of the book.

        Raises:
            Invalid: There is none of a name, or the splits are by different dimensions.
        """
        known = {rule.name: rule for rule in self.splits}
        if unknown := [name for name in names if name not in known]:
            raise Invalid(f"there is no split called {unknown[0][:60]}", f"Known: {', '.join(known) or 'none yet'}.")
        found = tuple(rule for rule in self.splits if rule.name in names)
        if len({rule.by for rule in found}) > 1:
            raise Invalid("the splits are by different dimensions", "Ask for splits by one dimension at a time.")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form with exact decimal strings."""
        splits = [
            asdict(rule)
            | {"method": rule.method.value, "weights": {name: f"{weight:f}" for name, weight in rule.weights.items()}}
            for rule in self.splits
        ]
        return {"tags": [asdict(rule) for rule in self.tags], "splits": splits}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "RuleBook":
        """Read what :meth:`to_json` wrote, or a person did.

        Raises:
            Invalid: It has another build, or a rule cannot be applied.
        """
        try:
            tags = tuple(TagRule(**one) for one in raw.get("tags", ()))
            splits = tuple(
                SplitRule(**{
                    **one,
                    "method": Method(one.get("method", Method.PROPORTIONAL)),
                    "weights": {name: decimal_from(str(weight)) for name, weight in one.get("weights", {}).items()},
                })
                for one in raw.get("splits", ())
            )  # fmt: skip
        except (TypeError, ValueError, AttributeError) as error:
            raise Invalid(
                f"the rules cannot be read: {str(error)[:200]}", "See the guide about shared cost."
            ) from error
        return cls(tags, splits)


Cell = tuple[tuple[str | None, ...], str]
"""Times (day, month) of a group, and its currency."""


@dataclass(frozen=True, slots=True)
class Share:
    """One group of an answer: its own cost and lines, and its part of what is shared; ``values`` as asked."""

    values: tuple[str | None, ...]
    currency: str
    own: Decimal | None
    shared: Decimal | None
    lines: int

    @property
    def cost(self) -> Decimal | None:
        """Own and shared cost; None where neither is known."""
        if self.own is None and self.shared is None:
            return None
        return (self.own or Decimal(0)) + (self.shared or Decimal(0))


def shared_out(
    own: Sequence[Share], pools: Iterable[tuple[SplitRule, Mapping[Cell, Decimal], Mapping[str, Decimal]]], at: int
) -> tuple[list[Share], list[str]]:
    """Add to each group its part of the pools.

    Args:
        own: Groups of the lines that no rule shares; value ``at`` is the target, the others are times.
        pools: For each rule its pool by cell, and weights by target (of ``fixed`` and ``usage``).
        at: Which value is the target.

    Returns:
        The groups; own and shared cost of all sum exactly to own cost plus pools. What nobody can bear stays under the
        target None, and the second result says so.
    """
    shares = {(group.values, group.currency): group for group in own}
    direct: dict[Cell, dict[str, Decimal]] = {}
    for group in own:
        target = group.values[at]
        cell = (group.values[:at] + group.values[at + 1 :], group.currency)
        direct.setdefault(cell, {})
        if target:
            direct[cell][target] = group.own or Decimal(0)
    notes: list[str] = []
    for rule, pool, weights in pools:
        for cell, amount in sorted(pool.items(), key=str):
            for target, part in _parts(rule, direct.get(cell, {}), amount, weights):
                if target is None:
                    notes.append(
                        f"{rule.name}: {part:f} {cell[1]} {' '.join(filter(None, cell[0]))} has nobody to bear it"
                    )
                key = ((*cell[0][:at], target, *cell[0][at:]), cell[1])
                known = shares.get(key) or Share(key[0], key[1], None, None, 0)
                shares[key] = Share(key[0], key[1], known.own, (known.shared or Decimal(0)) + part, known.lines)
    return list(shares.values()), notes


def _parts(
    rule: SplitRule, direct: Mapping[str, Decimal], amount: Decimal, weights: Mapping[str, Decimal]
) -> list[tuple[str | None, Decimal]]:
    match rule.method:
        case Method.FIXED | Method.USAGE:
            method, given = allocation.Method.FIXED, weights
        case Method.EVEN | Method.PROPORTIONAL:
            method, given = allocation.Method(rule.method.value), {}
    bearing = given if method is allocation.Method.FIXED else direct
    if not any(weight > 0 for weight in bearing.values()) and (method is not allocation.Method.EVEN or not direct):
        return [(None, amount)]
    found = allocation.allocate(direct, amount, method=method, weights=given)
    return [(one.target, one.shared) for one in found if one.shared]


def per_unit(cost: Decimal | None, quantity: Decimal | None) -> Decimal | None:
    """Return the cost of one unit, to 15 places, half to even; None where either is unknown or there is no unit."""
    if cost is None or not quantity:
        return None
    with localcontext(prec=allocation.PRECISION):
        return (cost / quantity).quantize(UNIT_PLACES, ROUND_HALF_EVEN)
