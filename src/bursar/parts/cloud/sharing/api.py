"""Rules about who bears cost, over HTTP: one document, replaced as a whole."""

from typing import Annotated

from pydantic import Field

from bursar.infra.clock import utc_now
from bursar.infra.web import As, In, Match, Out, TheDb, router
from bursar.kernel.errors import Invalid, TooLarge
from bursar.parts.cloud.rules.filters import FILTER_CHARS_MAX
from bursar.parts.cloud.rules.inheritance import TAG_RULES_MAX, VALUE_CHARS_MAX
from bursar.parts.cloud.sharing import service
from bursar.parts.cloud.sharing.rules import NAME_CHARS_MAX, SPLIT_RULES_MAX, WEIGHTS_MAX, Method, RuleBook

Filter = Annotated[str, Field(max_length=FILTER_CHARS_MAX)]
Dimension = Annotated[str, Field(max_length=220, examples=["tag:team"])]


class TagRuleIn(In):
    """A default for a tag: `value` literally, or what the dimension `source` says; where the filter `where` keeps the line."""

    key: Annotated[str, Field(max_length=200, examples=["team"])]
    value: Annotated[str, Field(max_length=VALUE_CHARS_MAX)] = ""
    source: Annotated[str, Field(max_length=220, examples=["account_name"])] = ""
    where: Filter = ""


class SplitRuleIn(In):
    """Cost of lines that `shared` keeps is split among the values of `by`.

    `weights` (decimal texts) belong to the method `fixed`, `measure` (an imported quantity with targets) to `usage`.
    """

    name: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]
    by: Dimension
    shared: Annotated[str, Field(min_length=1, max_length=FILTER_CHARS_MAX, examples=['service = "AWS Support"'])]
    method: Method = Method.PROPORTIONAL
    weights: dict[str, str] = Field(default_factory=dict, max_length=WEIGHTS_MAX)
    measure: Annotated[str, Field(max_length=200)] = ""


class RulesIn(In):
    """Every rule; the first tag rule that fits decides."""

    tags: Annotated[list[TagRuleIn], Field(max_length=TAG_RULES_MAX)] = Field(default_factory=list)
    splits: Annotated[list[SplitRuleIn], Field(max_length=SPLIT_RULES_MAX)] = Field(default_factory=list)


class TagRuleOut(Out):
    """A default for a tag, and the rule in words."""

    key: str
    value: str
    source: str
    where: str
    words: str


class SplitRuleOut(Out):
    """A split, and the rule in words."""

    name: str
    by: str
    shared: str
    method: Method
    weights: dict[str, str]
    measure: str
    words: str


class RulesOut(Out):
    """Every rule, and how often they were replaced."""

    version: int
    tags: list[TagRuleOut]
    splits: list[SplitRuleOut]


def rules_out(book: RuleBook, version: int) -> RulesOut:
    """Translate the rules."""
    raw = book.to_json()
    return RulesOut(
        version=version,
        tags=[TagRuleOut(**one, words=str(rule)) for one, rule in zip(raw["tags"], book.tags, strict=True)],
        splits=[SplitRuleOut(**one, words=str(rule)) for one, rule in zip(raw["splits"], book.splits, strict=True)],
    )


r = router("cloud_rules", tag="Cloud costs", about="Which tags are inherited, and how shared cost is split.")


@r.get("/v1/cloud/rules", right="cost:read")
async def get_rules(db: TheDb, actor: As, match: Match) -> RulesOut:
    """Show the rules about who bears cost."""
    async with db.reading(actor) as tx:
        book, version = await service.book(tx, actor)
    match.tag(version)
    return rules_out(book, version)


@r.put("/v1/cloud/rules", right="cost:write", edited=True, refusals=[Invalid, TooLarge])
async def replace_rules(body: RulesIn, db: TheDb, actor: As, match: Match) -> RulesOut:
    """Replace the rules as a whole; they hold for every period at once."""
    book = RuleBook.from_json(body.model_dump(mode="json"))
    async with db.writing(actor) as tx:
        version = await service.replace_book(tx, actor, rules_=book, seen=match.must, now=utc_now())
    match.tag(version)
    return rules_out(book, version)
