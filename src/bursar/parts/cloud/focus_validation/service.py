"""Use cases: validate a file, list the models at hand."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path

from bursar.kernel.errors import Invalid, NotFound
from bursar.parts.cloud.focus_validation.rules.batch import Batch, rows_where
from bursar.parts.cloud.focus_validation.rules.groups import Collector, Sums, collector
from bursar.parts.cloud.focus_validation.rules.headers import TESTS
from bursar.parts.cloud.focus_validation.rules.logic import Logic, Not
from bursar.parts.cloud.focus_validation.rules.model import Model, load_model
from bursar.parts.cloud.focus_validation.rules.plan import Planned, Planner
from bursar.parts.cloud.focus_validation.rules.report import (
    ROWS_SHOWN_MAX,
    Outcome,
    Report,
    Verdict,
    compose,
    found,
    settled,
)
from bursar.parts.cloud.focus_validation.store import blocks

BASE_VERSION = "1.2"
"""The version whose rules in words this version of Bursar has read."""


def bundled_versions() -> list[str]:
    """Return the FOCUS versions whose rule models come with the product."""
    folder = resources.files(__package__) / "models"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".json.gz"))
    return [name.removeprefix("model-").removesuffix(".json.gz") for name in names]


@lru_cache(maxsize=8)
def bundled_model(version: str) -> Model:
    """Return the rule model of ``version`` that comes with the product.

    Raises:
        NotFound: There is none of that version; give a model file instead.
    """
    if version not in bundled_versions():
        raise NotFound("FOCUS rule model of version", version)
    path = resources.files(__package__) / "models" / f"model-{version}.json.gz"
    return load_model(gzip.decompress(path.read_bytes()))


def model_from(document: Path) -> Model:
    """Return the rule model in a file, plain or gzipped JSON."""
    data = document.read_bytes()
    return load_model(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


def validate(
    document: Path, *, version: str = BASE_VERSION, model: Model | None = None, supports: Sequence[str] | None = None
) -> Report:
    """Decide every rule of a FOCUS version for one file, in one pass and bounded memory.

    Args:
        document: A CSV (plain, gzip or zstandard) or Parquet file of the CostAndUsage dataset.
        version: FOCUS version whose bundled rules are used.
        model: Another rule model, instead of the bundled one.
        supports: Applicability criteria that the provider meets; ``["ALL"]`` for all, None to infer them from the
            columns of the file.

    Returns:
        One outcome per rule.

    Raises:
        NotFound: No rule model of that version is bundled.
        Invalid: The file cannot be read as a table, or ``supports`` names an unknown criterion.
    """
    rules = model or bundled_model(version)
    source = blocks(document)
    chosen = _supported(rules, supports)
    planner = Planner(rules, bundled_model(BASE_VERSION), source.names, chosen)
    run = Run(planner.all(), source.names)
    for batch in source:
        run.add(batch)
    return Report(
        version=rules.version,
        file=document.name,
        rows=source.rows,
        columns=len(source.names),
        criteria=tuple(sorted(planner.met)),
        outcomes=compose(rules, run.outcomes(rules)),
        notes=tuple(source.notes),
    )


def _supported(model: Model, supports: Sequence[str] | None) -> frozenset[str] | None:
    if supports is None:
        return None
    known = frozenset(model.criteria)
    if "ALL" in supports:
        return known
    unknown = sorted(frozenset(supports) - known)
    if unknown:
        raise Invalid(f"Unknown criteria: {', '.join(unknown)}.", f"Known are: ALL, {', '.join(sorted(known))}.")
    return frozenset(supports)


@dataclass
class Tally:
    """What was found for one rule of rows so far."""

    count: int = 0
    rows: list[int] = field(default_factory=list)
    example: str = ""


class Run:
    """One pass over a file."""

    def __init__(self, planned: Sequence[Planned], names: Sequence[str]) -> None:
        self.names = names
        self.planned = [
            item for item in planned if item.verdict or item.column or item.head or item.logic or item.group
        ]
        self.rows: list[tuple[Planned, Logic, Tally]] = [
            (item, Not(item.logic), Tally()) for item in self.planned if item.logic is not None
        ]
        self.groups: dict[object, Collector] = {
            item.group: collector(item.group) for item in self.planned if item.group is not None
        }

    def add(self, batch: Batch) -> None:
        """Test the rows of one block."""
        for item, broken, tally in self.rows:
            mask = batch.mask(broken)
            if mask is False:
                continue
            count, rows = rows_where(batch, mask, ROWS_SHOWN_MAX - len(tally.rows))
            if rows and not tally.rows and item.rule.reference in self.names:
                value = batch.column(item.rule.reference).series[rows[0] - batch.first_row]
                tally.example = "" if value is None else str(value)
            tally.count += count
            tally.rows += rows
        for group in self.groups.values():
            group.add(batch)

    def outcomes(self, model: Model) -> list[Outcome]:
        """Return what every single rule came to."""
        tallies = {item.rule.id: tally for item, _, tally in self.rows}
        return [self._outcome(item, model, tallies.get(item.rule.id)) for item in self.planned]

    def _outcome(self, item: Planned, model: Model, tally: Tally | None) -> Outcome:
        if item.verdict:
            return settled(item)
        if item.column:
            return found(item, int(item.column not in self.names), ())
        if item.head:
            wrong = TESTS[item.head](self.names, frozenset(model.columns))
            return found(item, len(wrong), (), ", ".join(wrong))
        if tally is not None:
            return found(item, tally.count, tally.rows, tally.example)
        group = self.groups[item.group]
        if isinstance(group, Sums) and not group.decided:
            why = "no commitment is bought and used within one billing period of the file"
            return Outcome(item.rule, Verdict.NOT_APPLICABLE, why=why)
        return found(item, *group.result(ROWS_SHOWN_MAX))


__all__ = ["Report", "Verdict", "bundled_model", "bundled_versions", "model_from", "validate"]
