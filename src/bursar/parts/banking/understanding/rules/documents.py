"""Which invoice a row pays; pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from bursar.kernel.money import Money
from bursar.parts.banking.papers.rules import Paper
from bursar.parts.banking.understanding.rules.answers import Answer, Past, Row

CATEGORY = "Cloud services"
"""What an invoice of a vendor of clouds was for, until people said something else of that counterparty."""
DAYS_BEFORE = 10
DAYS_AFTER = 75
"""How long before and after its last day an invoice may be paid."""
NUMBER_CHARS_MIN = 5
"""Shorter invoice numbers stand in too many texts by chance."""
WORD_CHARS_MIN = 3

_CALLED: Mapping[str, frozenset[str]] = {
    "aws": frozenset({"aws", "amazon"}),
    "azure": frozenset({"azure", "microsoft", "msft"}),
    "gcp": frozenset({"gcp", "google"}),
    "oci": frozenset({"oci", "oracle"}),
}
"""How vendors are called on statements besides their name."""
_WEAK = frozenset(
    ["inc", "llc", "ltd", "gmbh", "sarl", "limited", "services", "service", "web", "cloud", "emea", "europe", "the", "corporation", "ireland", "operations"]
)  # fmt: skip
_BREAKS = re.compile(r"[^0-9a-z]+")


def paid(
    rows: Sequence[Row], papers: Iterable[Paper], past: Iterable[Past] = (), taken: Collection[str] = ()
) -> dict[UUID, Answer]:
    """Return an answer for each row that exactly one invoice fits: its exact total, a day near, its number or its issuer's name.

    An invoice is paid once: the earliest of several rows that fit one gets it, and none where another row has it already.

    Args:
        rows: The rows asked about.
        papers: Invoices.
        past: Rows of the same counterparties with what people decided; the commonest category of them counts.
        taken: Ids of invoices that other rows pay.
    """
    by_total: dict[tuple[str, int], list[Paper]] = defaultdict(list)
    for paper in papers:
        minor = Money.rounded(paper.total, paper.currency).minor
        if minor and paper.id not in taken:
            by_total[paper.currency, -minor].append(paper)
    usual: dict[UUID, Counter[str]] = defaultdict(Counter)
    for before in past if by_total else ():
        if before.category and before.row.party:
            usual[before.row.party][before.category] += 1
    found: dict[UUID, Answer] = {}
    gone: set[str] = set()
    for row in sorted(rows, key=lambda row: (row.day, row.id)):
        same = by_total.get((row.currency, Money.rounded(row.amount, row.currency).minor), ())
        near = [one for one in same if one.id not in gone and _near(row, one)]
        numbered = [one for one in near if _numbered(row, one)]
        fitting = numbered or [one for one in near if _named(row, one)]
        if len(fitting) == 1:
            gone.add(fitting[0].id)
            seen = usual.get(row.party) if row.party else None
            category = seen.most_common(1)[0][0] if seen else CATEGORY
            found[row.id] = _answer(fitting[0], category, "its number" if numbered else "its issuer")
    return found


def _answer(one: Paper, category: str, named: str) -> Answer:
    return Answer(
        "document",
        category,
        0.98 if named == "its number" else 0.9,
        f"the exact total of {one.told}, and the text names {named}",
        {"document": one.id, "issuer": one.issuer, "number": one.number, "total": f"{one.total.normalize():f}", "from": one.source},
    )  # fmt: skip


def _near(row: Row, one: Paper) -> bool:
    return timedelta(days=-DAYS_BEFORE) <= row.day - one.last_day <= timedelta(days=DAYS_AFTER)


def _numbered(row: Row, one: Paper) -> bool:
    parts = [part for part in _BREAKS.split(one.number.casefold()) if part]
    whole = "".join(parts)
    return len(whole) >= NUMBER_CHARS_MIN and (set(parts) <= set(row.words) or whole in row.words)


def _named(row: Row, one: Paper) -> bool:
    called = {*_BREAKS.split(one.issuer.casefold()), one.provider} - _WEAK
    for names in _CALLED.values():  # an invoice names the company and a statement the product, or the other way round
        called |= names if called & names else set()
    return any(len(word) >= WORD_CHARS_MIN and word in row.words for word in called)
