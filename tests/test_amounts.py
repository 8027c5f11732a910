"""Every amount of money in an answer leads to where it comes from: walked over the whole OpenAPI document.

An amount is a property that holds money by its type, or decimal text by its name. It must be traced money, or lie in an object
that has a ``trace``; what is left out is listed with its reason.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bursar.infra.embedded_postgres import OWNER, EmbeddedPostgres
from tests.whole import operations, whole

NAMES = re.compile(r"amount|cost|price|worth|monthly|recent|mean|before|after|change|(lower|upper)[0-9]+|[a-z_]+_usd")
"""Names under which amounts are written as plain text."""

LEFT_OUT = {
    "BudgetOut.amount": "what a person set",
    "ChangeOut.change": "a word",
    "EventOut.amount": "what a person expects",
    "LeastOut.least": "what a person set",
    "OutlookOut.least": "what a person set",
    "StepOut": "of numbers that came with the request and are kept nowhere",
    "TraceOut.figure": "the trace itself",
    "PriceOut.price": "a part of a trace",
    "RowOut.amount": "a part of a trace",
    "PartOut.amount": "a part of a trace",
}


def pointed(value: Any) -> Iterator[str]:
    """Yield the names of the schemas that a schema refers to."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rsplit("/", 1)[1]
        for one in value.values():
            yield from pointed(one)
    elif isinstance(value, list):
        for one in value:
            yield from pointed(one)


def plain(name: str) -> str:
    """Return the name of a class: schemas of one name are told apart by their module."""
    return name.rsplit("__", 1)[-1]


def amounts(schemas: dict[str, Any], name: str, seen: set[str]) -> Iterator[str]:
    """Yield ``Class.property`` of each amount under a schema that has no trace beside or above it."""
    fields = schemas[name].get("properties", {})
    if name in seen or "trace" in fields:
        return
    seen.add(name)
    for field, schema in fields.items():
        below = list(pointed(schema))
        text = {"string", "number"} & {one.get("type") for one in (schema, *schema.get("anyOf", ()))}
        if "MoneyOut" in below or (text and NAMES.fullmatch(field)):
            yield f"{plain(name)}.{field}"
        for one in below:
            if one != "MoneyOut":
                yield from amounts(schemas, one, seen)


async def test_every_amount_of_an_answer_has_a_trace(
    postgres: EmbeddedPostgres, module_database: str, tmp_path: Path
) -> None:
    async with whole(postgres.url(OWNER, module_database), tmp_path) as running:
        document = running.app.openapi()
    schemas = document["components"]["schemas"]
    found: set[str] = set()
    seen: set[str] = set()
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status.startswith("2"):
                found |= {one for name in pointed(answer) for one in amounts(schemas, name, seen)}

    bare = {one for one in found if one not in LEFT_OUT and one.split(".")[0] not in LEFT_OUT}
    assert bare == set()
    assert {one for one in LEFT_OUT if not any(one in {each, each.split(".")[0]} for each in found)} == set()
    assert len(seen) > 100
