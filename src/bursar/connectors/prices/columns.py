"""The table every price connector returns; one row per price."""

import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import polars as pl

from bursar.infra.http import NoAnswer, Reply
from bursar.kernel.prices import PRICE_COLUMNS

HOURS_A_YEAR = 8760

Row = dict[str, Any]


def table(rows: Iterable[Row], *, day: date, source: str) -> pl.DataFrame:
    """Return the rows as a table; columns a row lacks are null, ``seen_on`` is ``day``."""
    blank: Row = dict.fromkeys(PRICE_COLUMNS)
    whole = [blank | {"seen_on": day, "source": source, "tier_start": Decimal(0)} | row for row in rows]
    return pl.DataFrame(whole, schema=dict(PRICE_COLUMNS), strict=False, infer_schema_length=None)


def exact(reply: Reply) -> Any:
    """Return the JSON body with its decimal numbers exact, or refuse an answer that is no JSON.

    Raises:
        NoAnswer: The content type is another one, or the body is cut off or broken.
    """
    import json

    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and "json" not in kind and kind not in {"application/octet-stream", "binary/octet-stream"}:
        raise NoAnswer(reply.host, f"it sent {kind[:60]} in place of JSON")
    try:
        orjson.loads(reply.body)
        return json.loads(reply.body, parse_float=Decimal)
    except ValueError as error:
        raise NoAnswer(reply.host, "its answer is broken or ends too early") from error


def amount(value: object) -> Decimal | None:
    """Return a price as written, or None where it is none or negative."""
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        number = Decimal(value)
    elif isinstance(value, str) and re.fullmatch(r"\d{1,20}(\.\d{1,30})?([eE]-?\d{1,2})?", value.strip()):
        number = Decimal(value.strip())
    else:
        return None
    return number if number.is_finite() and number >= 0 else None


def term(years: int, payment: str, kind: str = "reserved") -> str:
    """Return the name of a term, such as ``reserved_1y_no_upfront``."""
    words = "_".join(payment.lower().split())
    return f"{kind}_{years}y" + (f"_{words}" if words else "")
