"""Verdicts: what each rule came to, with rows and a repair; composites follow from their parts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from bursar.parts.cloud.focus_validation.rules.model import Model, Rule
from bursar.parts.cloud.focus_validation.rules.plan import Planned

ROWS_SHOWN_MAX = 10
"""Row numbers given for each violation; the count is always whole."""


class Verdict(StrEnum):
    """What a rule came to."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not_applicable"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rule came to.

    Attributes:
        rule: The rule.
        verdict: Passed, failed, not applicable or undecided.
        proof: Whether the file alone proves the verdict; else it holds as far as the file could contradict it.
        count: Rows (or keys, or columns) that break the rule.
        rows: The first row numbers; the header is row 1.
        example: The offending value of the first row, where there is one.
        why: Why it does not apply, is undecided, or which parts of a composite failed.
        repair: What would fix it.
    """

    rule: Rule
    verdict: Verdict
    proof: bool = True
    count: int = 0
    rows: tuple[int, ...] = ()
    example: str = ""
    why: str = ""
    repair: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one validation.

    Attributes:
        version: FOCUS version of the rules.
        file: Name of the file.
        rows: Data rows read.
        columns: Columns of the file.
        criteria: Applicability criteria taken as met.
        outcomes: One per rule of the model, in its order.
        notes: Plain sentences about how the file was read.
    """

    version: str
    file: str
    rows: int
    columns: int
    criteria: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()

    @property
    def violations(self) -> list[Outcome]:
        """Broken obligations (MUST, MUST NOT) of single rules; a composite repeats its parts and is left out."""
        return [o for o in self.outcomes if o.verdict is Verdict.FAILED and o.rule.obliges and not o.rule.parts]

    @property
    def advice(self) -> list[Outcome]:
        """Recommendations (SHOULD, RECOMMENDED) that the file does not follow."""
        return [o for o in self.outcomes if o.verdict is Verdict.FAILED and not o.rule.obliges and not o.rule.parts]

    @property
    def undecided(self) -> list[Outcome]:
        """Rules that the file cannot decide, each with the reason."""
        return [o for o in self.outcomes if o.verdict is Verdict.UNDECIDED]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many rules came to which verdict."""
        return {verdict.value: sum(o.verdict is verdict for o in self.outcomes) for verdict in Verdict}

    @property
    def decided(self) -> int:
        """How many rules are decided."""
        return len(self.outcomes) - len(self.undecided)


def compose(model: Model, single: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """Add the composites: failed when an obligation among the parts failed (or, for OR, when all failed).

    An undecided part leaves a composite decided by the others; it is named. A composite without a decided part is
    undecided; one whose parts all do not apply does not apply.
    """
    done = {outcome.rule.id: outcome for outcome in single}

    def of(key: str) -> Outcome:
        if key not in done:
            done[key] = _composite(model.rules[key], [of(part) for part in model.rules[key].parts])
        return done[key]

    return tuple(of(key) for key in model.rules)


def _composite(rule: Rule, parts: Sequence[Outcome]) -> Outcome:
    verdicts = [part.verdict for part in parts]
    if all(verdict is Verdict.NOT_APPLICABLE for verdict in verdicts):
        return Outcome(rule, Verdict.NOT_APPLICABLE, why="none of its parts applies")
    broken = [part for part in parts if part.verdict is Verdict.FAILED and part.rule.obliges]
    open_ = [part.rule.id for part in parts if part.verdict is Verdict.UNDECIDED]
    if rule.requirement.get("CheckFunction") == "OR" and Verdict.PASSED in verdicts:
        broken = []
    if broken:
        names = ", ".join(part.rule.id for part in broken)
        return Outcome(rule, Verdict.FAILED, count=len(broken), why=f"because of {names}")
    if all(verdict in {Verdict.UNDECIDED, Verdict.NOT_APPLICABLE} for verdict in verdicts):
        return Outcome(rule, Verdict.UNDECIDED, why=f"all that applies is undecided: {', '.join(open_)}")
    proof = not open_ and all(part.proof for part in parts)
    return Outcome(
        rule, Verdict.PASSED, proof, why=f"apart from what is undecided: {', '.join(open_)}" if open_ else ""
    )


REPAIRS = {
    "TypeDecimal": "Write a plain number, such as 1234.56 or 1.2E-7.",
    "FormatNumeric": "Write a plain number, such as 1234.56 or 1.2E-7: no plus sign, comma, currency sign or unit.",
    "TypeDateTime": "Write a date and time, such as 2026-01-31T00:00:00Z.",
    "FormatDateTime": "Write date and time in UTC, such as 2026-01-31T00:00:00Z.",
    "FormatUnit": "Write a unit such as Hours, GB, GB-Hours, GB/Hour or 1000 Requests.",
    "FormatCurrency": "Write the ISO 4217 code, such as EUR, or the name of the virtual currency.",
    "CheckNationalCurrency": "Write the ISO 4217 code of a national currency, such as EUR.",
    "FormatKeyValue": 'Write a flat JSON object, such as {{"env": "prod"}}.',
    "CheckDistinctCount": "Give every {a} exactly one {b}; check the rows named for a mixed-up id.",
    "ColumnByColumnEqualsColumnValue": "Make {result} the product of {a} and {b}, or give the row ChargeClass Correction.",
    "CheckGreaterOrEqualThanValue": "Write a value not below {value}; put refunds and credits into the cost columns.",
}


def repair_for(planned: Planned) -> str:
    """Return what would fix a violation of the rule."""
    rule, check = planned.rule, planned.rule.requirement
    function = check.get("CheckFunction", "")
    if planned.column:
        return f"Add the column {planned.column}" + (", empty where there is no value." if rule.obliges else ".")
    if function in REPAIRS:
        facts = {
            "a": check.get("ColumnAName", ""),
            "b": check.get("ColumnBName", ""),
            "result": check.get("ResultColumnName", ""),
            "value": check.get("Value", ""),
        }
        return REPAIRS[function].format(**facts)
    if rule.function == "Nullability":
        verb = "Fill" if "NOT" in rule.keyword else "Empty"
        return f"{verb} {rule.reference} in the rows named: {rule.text}"
    if function == "OR" and {item.get("CheckFunction") for item in check["Items"]} == {"CheckValue"}:
        values = ", ".join(str(item["Value"]) for item in check["Items"][:12])
        return f"Write one of: {values}{' …' if len(check['Items']) > 12 else ''}"
    return f"Change the rows named so that: {rule.text}"


def settled(planned: Planned) -> Outcome:
    """Return the outcome of a rule that is settled without looking at rows."""
    return Outcome(planned.rule, Verdict(planned.verdict), why=planned.why)


def found(planned: Planned, count: int, rows: Sequence[int], example: str = "") -> Outcome:
    """Return the outcome of a rule that was tested."""
    if not count:
        return Outcome(planned.rule, Verdict.PASSED, planned.proof)
    failed = Outcome(planned.rule, Verdict.FAILED, proof=True, count=count, rows=tuple(rows), example=example[:80])
    return replace(failed, repair=repair_for(planned))
