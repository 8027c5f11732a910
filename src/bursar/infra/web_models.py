"""Wire types that every part shares: strict input, output, money, lists, problems."""

import re
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from bursar.kernel.errors import Invalid
from bursar.kernel.money import Money, plainly
from bursar.kernel.period import DAY_MAX, DAY_MIN

TEXT_MAX_CHARS = 10_000
"""Longest text of a field that declares no limit of its own."""

BIGINT_MAX = 2**63 - 1
"""Largest whole number that a ``bigint`` column can hold."""

Item = TypeVar("Item")

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"\s*[-+]?[0-9.]+\s*")


def _written_day(value: object) -> object:
    if isinstance(value, int | float) or (isinstance(value, str) and not _DAY.fullmatch(value)):
        raise ValueError("a day is written like 2026-01-31")
    return value


Day = Annotated[date, BeforeValidator(_written_day), Field(ge=DAY_MIN, le=DAY_MAX)]
"""A day that is asked for; pydantic alone would take a number for seconds since 1970."""


def _written_instant(value: object) -> object:
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError("an instant is written as text, like 2026-01-31T12:00:00Z")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_written_instant)]
"""An instant that is asked for in a query; bodies refuse numbers for instants by themselves."""


@lru_cache(maxsize=1024)
def _kinds(model: type[BaseModel], name: str) -> frozenset[object]:
    """Return the types that a field asks for, optional or not."""
    kind = model.model_fields[name].annotation
    return frozenset(get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,))


class In(BaseModel):
    """Base of request bodies: unknown fields are refused, values are frozen, texts are bounded."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=TEXT_MAX_CHARS, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _what_is_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a number for an instant, which pydantic would count from 1970, and 0 and 1 for no and yes or back."""
        asked = _kinds(cls, info.field_name) if info.field_name else frozenset()
        if datetime in asked:
            return _written_instant(value)
        if bool in asked and not isinstance(value, bool | None) and asked.isdisjoint((int, float, str)):
            raise ValueError("must be true or false")
        if isinstance(value, bool) and bool not in asked and not asked.isdisjoint((int, float)):
            raise ValueError("must be a number")
        return value


class Out(BaseModel):
    """Base of replies."""

    model_config = ConfigDict(frozen=True)


Whole = Annotated[int, Field(strict=True, ge=-BIGINT_MAX, le=BIGINT_MAX)]
"""A whole number that fits a ``bigint``."""

Count = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
"""A whole number from 0 that fits an ``integer``."""

_Amount = Annotated[
    str,
    Field(
        pattern=r"^-?[0-9]{1,18}(\.[0-9]{1,3})?$",
        max_length=24,
        examples=["1234.50"],
        description="Exact decimal number as text, in major units; never a JSON number.",
    ),
]
_Currency = Annotated[
    str, Field(pattern=r"^[A-Z]{3}$", examples=["EUR"], description="ISO 4217 code.", max_length=3, min_length=3)
]


class MoneyIn(In):
    """An exact amount of one currency, sent as text so that every client can hold it."""

    amount: _Amount
    currency: _Currency

    def money(self) -> Money:
        """Return the exact money.

        Raises:
            Invalid: The amount has more decimal places than its currency, or does not fit 63 bits of minor units.
        """
        try:
            money = Money.of(self.amount, self.currency)
        except ValueError as error:
            raise Invalid(str(error), fix="Send at most the currency's number of decimal places.") from error
        if abs(money.minor) > BIGINT_MAX:
            raise Invalid(f"{self.amount} {self.currency} is too large", fix="Send a smaller amount.")
        return money


class MoneyOut(Out):
    """An exact amount of one currency."""

    amount: Annotated[str, Field(examples=["1234.50"], description="Exact decimal number as text, in major units.")]
    currency: Annotated[str, Field(examples=["EUR"], description="ISO 4217 code.")]

    @classmethod
    def of(cls, money: Money) -> "MoneyOut":
        """Translate ``money`` for the wire."""
        return cls(**money.on_the_wire())

    @classmethod
    def exact(cls, amount: Decimal, currency: str) -> "MoneyOut":
        """Translate source detail with up to 15 decimal places (unit prices, billed costs) for the wire."""
        return cls(amount=plainly(amount, currency), currency=currency)


class TracedOut(MoneyOut):
    """An exact amount of one currency, and where it comes from."""

    trace: Annotated[str, Field(description="`/v1/trace/{token}` tells formula, exact parts, rates and source lines.")]

    @classmethod
    def to(cls, money: Money, trace: str) -> "TracedOut":
        """Translate ``money`` for the wire, with its trace token."""
        return cls(**money.on_the_wire(), trace=trace)

    @classmethod
    def exactly(cls, amount: Decimal, currency: str, trace: str) -> "TracedOut":
        """Translate source detail with up to 15 decimal places for the wire, with its trace token."""
        return cls(amount=plainly(amount, currency), currency=currency, trace=trace)


class Listed(Out, Generic[Item]):
    """One page of a list."""

    data: Annotated[list[Item], Field(description="The items of this page.")]
    next: Annotated[str | None, Field(description="Send as `after` to read on; null on the last page.")]


class Flaw(Out):
    """One thing that is wrong with the request."""

    detail: Annotated[str, Field(description="What is wrong.")]
    pointer: Annotated[str | None, Field(description="JSON pointer (RFC 6901) into the body.")] = None
    parameter: Annotated[str | None, Field(description="Name of the query, path or header parameter.")] = None


class ProblemOut(Out):
    """A refusal or failure, as RFC 9457 describes it."""

    type: Annotated[str, Field(description="Address of the page that explains the code.")]
    title: Annotated[str, Field(description="The same for every occurrence of the code.")]
    status: Annotated[int, Field(description="HTTP status.")]
    detail: Annotated[str, Field(description="What happened, for people.")]
    instance: Annotated[str, Field(description="The request id; quote it when you ask for help.")]
    code: Annotated[str, Field(description="Stable name for programs.")]
    facts: Annotated[dict[str, Any], Field(description="The facts behind the detail.")] = Field(default_factory=dict)
    errors: Annotated[list[Flaw], Field(description="Each flaw of an invalid request.")] = Field(default_factory=list)
