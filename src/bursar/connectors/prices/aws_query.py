"""AWS Price List query API: a few prices at once, with credentials; requests are signed with Signature Version 4.

Each entry of an answer's ``PriceList`` is JSON inside a JSON string, and prices are strings.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from bursar.connectors.prices.columns import HOURS_A_YEAR, Row, amount, exact, table, term
from bursar.infra.http import Answered, Client, Host, NoAnswer, Reply
from bursar.kernel.errors import Invalid

REGIONS = ("us-east-1", "eu-central-1", "ap-south-1")
"""The only regions in which the API itself runs."""

HOSTS = tuple(Host(f"api.pricing.{region}.amazonaws.com") for region in REGIONS)
SERVICE = "pricing"
TARGET = "AWSPriceListService.GetProducts"
PAGE = 100
PAGES_MAX = 2_000
THROTTLED_TRIES = 6
THROTTLED_S = 1.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; the secret is never shown."""

    key: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def sign(
    credentials: Credentials, *, region: str, url: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> dict[str, str]:
    """Return the headers of a POST with its Signature Version 4.

    Source:
        docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    whole = {name.lower(): value.strip() for name, value in headers.items()} | {
        "host": parts.netloc,
        "x-amz-date": stamp,
    }
    if credentials.token:
        whole["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(whole))
    lines = "".join(f"{name}:{whole[name]}\n" for name in sorted(whole))
    request = "\n".join(("POST", parts.path or "/", parts.query, lines, names, hashlib.sha256(body).hexdigest()))
    scope = f"{stamp[:8]}/{region}/{SERVICE}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret}".encode()
    for part in (stamp[:8], region, SERVICE, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    proof = f"AWS4-HMAC-SHA256 Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {name: value for name, value in whole.items() if name != "host"} | {"authorization": proof}


class AwsQuery:
    """Products of one service by attributes.

    Args:
        client: For :data:`HOSTS`.
        credentials: With the right ``pricing:GetProducts``.
        clock: Reads the instant of signing.
        region: Where the API is asked, one of :data:`REGIONS`.
        base: Address of the service, if another.
        sleep: Waits; a test gives its own.
    """

    def __init__(
        self,
        client: Client,
        credentials: Credentials,
        *,
        clock: Callable[[], datetime],
        region: str = REGIONS[0],
        base: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if region not in REGIONS:
            raise Invalid(f"The price API does not run in {region}.", f"Use one of {', '.join(REGIONS)}.")
        self._client, self._credentials, self._clock, self._region = client, credentials, clock, region
        self._url, self._sleep = base or f"https://api.pricing.{region}.amazonaws.com/", sleep

    async def products(self, service: str, filters: Mapping[str, str], *, day: date) -> pl.DataFrame:
        """Return the prices of the products of a service that have all the attributes.

        Args:
            service: Such as ``AmazonEC2``.
            filters: Attribute to exact value, such as ``{"instanceType": "m5.large", "regionCode": "eu-central-1"}``.
            day: Noted as the day of the reading.

        Raises:
            Invalid: The credentials or the question are refused.
            NoAnswer: No whole answer was to be had.
        """
        rows: list[Row] = []
        token, seen = "", set[str]()
        for _ in range(PAGES_MAX):
            document = await self._page(service, filters, token)
            for text in document.get("PriceList") or ():
                rows += rows_of(_product(text))
            token = str(document.get("NextToken") or "")
            if not token:
                return table(rows, day=day, source="aws-price-query")
            if token in seen:
                raise NoAnswer("the AWS price API", "it gave the same page token twice")
            seen.add(token)
        raise NoAnswer("the AWS price API", f"it has over {PAGES_MAX} pages")

    async def _page(self, service: str, filters: Mapping[str, str], token: str) -> Mapping[str, Any]:
        question: dict[str, object] = {
            "ServiceCode": service,
            "FormatVersion": "aws_v1",
            "MaxResults": PAGE,
            "Filters": [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in filters.items()],
        }
        if token:
            question["NextToken"] = token
        body = json.dumps(question).encode()
        plain = {"content-type": "application/x-amz-json-1.1", "x-amz-target": TARGET}
        for attempt in range(THROTTLED_TRIES):
            headers = sign(
                self._credentials, region=self._region, url=self._url, headers=plain, body=body, now=self._clock()
            )
            reply = await self._client.request("POST", self._url, headers=headers, content=body, repeatable=True)
            if reply.ok:
                document = exact(reply)
                if not isinstance(document, dict):
                    raise NoAnswer(reply.host, "its answer is no list of products")
                return document
            if "Throttling" not in _fault(reply):
                raise _refused(reply)
            await self._sleep(THROTTLED_S * 2**attempt)
        raise NoAnswer("the AWS price API", "it throttles every request", round(THROTTLED_S * 2**THROTTLED_TRIES))


@dataclass(frozen=True, slots=True)
class QueriedServices:
    """Whole services of regions as a catalogue of prices, asked of the query API.

    Attributes:
        api: The query API.
        services: Such as ``AmazonRDS``.
        regions: Such as ``eu-central-1``.
    """

    api: AwsQuery
    services: Sequence[str]
    regions: Sequence[str]
    name: str = "aws query"

    async def read(self, region: str, *, day: date) -> pl.DataFrame:
        """Return every price of the services in a region, as of ``day``; errors as :meth:`AwsQuery.products`."""
        return pl.concat([await self.api.products(one, {"regionCode": region}, day=day) for one in self.services])


def _fault(reply: Reply) -> str:
    try:
        document = json.loads(reply.body)
    except ValueError:
        return ""
    return str(document.get("__type", "")) if isinstance(document, dict) else ""


def _refused(reply: Reply) -> Invalid | Answered:
    fault = _fault(reply).rpartition("#")[2]
    if fault in {"UnrecognizedClientException", "InvalidSignatureException", "AccessDeniedException"}:
        return Invalid(f"AWS refuses the credentials ({fault}).", "Give a key with the right pricing:GetProducts.")
    if fault in {"InvalidParameterException", "NotFoundException", "ExpiredNextTokenException"}:
        return Invalid(f"AWS refuses the question ({fault}).", "Check the service code and the attribute names.")
    return Answered(reply.host, reply.status)


def _product(text: object) -> Mapping[str, Any]:
    try:
        document = json.loads(text, parse_float=Decimal) if isinstance(text, str) else text
    except ValueError as error:
        raise NoAnswer("the AWS price API", "a product in its answer is broken") from error
    return document if isinstance(document, dict) else {}


def rows_of(product: Mapping[str, Any]) -> list[Row]:
    """Return the on-demand and reserved prices of one product."""
    described = product.get("product") or {}
    attributes = described.get("attributes") or {}
    memory = str(attributes.get("memory", "")).removesuffix(" GiB")
    machine = attributes.get("instanceType")
    vcpu = amount(attributes.get("vcpu"))
    gib = amount(memory)
    base: Row = {
        "provider": "aws",
        "service": str(attributes.get("servicecode") or product.get("serviceCode") or ""),
        "sku": str(described.get("sku", "")),
        "region": str(attributes.get("regionCode") or ""),
        "family": str(described.get("productFamily") or ""),
        "instance_type": machine,
        "os": str(attributes.get("operatingSystem") or "linux").lower() if machine else None,
        "arch": ("arm64" if "Graviton" in str(attributes.get("physicalProcessor")) else "x86_64") if machine else None,
        "vcpu": float(vcpu) if vcpu is not None else None,
        "memory_gib": float(gib) if gib is not None else None,
        "meter": attributes.get("usagetype"),
    }
    if not base["sku"] or not base["region"]:
        return []
    terms = product.get("terms") or {}
    return [
        base | row
        for kind, offers in terms.items()
        for offer in (offers or {}).values()
        for row in (_reserved(offer) if kind == "Reserved" else _on_demand(offer))
    ]


def _dimensions(offer: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str, Decimal]]:
    return [
        (dimension, currency, price)
        for dimension in (offer.get("priceDimensions") or {}).values()
        for currency, text in (dimension.get("pricePerUnit") or {}).items()
        if (price := amount(text)) is not None
    ]


def _day(offer: Mapping[str, Any]) -> date | None:
    try:
        return datetime.fromisoformat(str(offer.get("effectiveDate"))).date()
    except ValueError:
        return None


def _on_demand(offer: Mapping[str, Any]) -> list[Row]:
    return [
        {
            "unit": str(dimension.get("unit") or "Quantity"),
            "term": "on_demand",
            "currency": currency,
            "tier_start": amount(dimension.get("beginRange")) or Decimal(0),
            "price": price,
            "valid_from": _day(offer),
            "description": dimension.get("description"),
        }
        for dimension, currency, price in _dimensions(offer)
    ]


def _reserved(offer: Mapping[str, Any]) -> list[Row]:
    attributes = offer.get("termAttributes") or {}
    length = str(attributes.get("LeaseContractLength", ""))
    years = int(length[0]) if length[:1].isdigit() else 0
    found = _dimensions(offer)
    if not years or not found:
        return []
    hourly = sum(
        (price for dimension, _, price in found if str(dimension.get("unit")).lower() in {"hrs", "hours"}), Decimal(0)
    )
    upfront = sum(
        (price for dimension, _, price in found if str(dimension.get("unit")).lower() == "quantity"), Decimal(0)
    )
    name = term(years, str(attributes.get("PurchaseOption") or ""))
    convertible = "_convertible" if attributes.get("OfferingClass") == "convertible" else ""
    return [
        {
            "unit": "Hrs",
            "term": name + convertible,
            "currency": found[0][1],
            "price": hourly + upfront / (HOURS_A_YEAR * years),
            "valid_from": _day(offer),
            "description": found[0][0].get("description"),
        }
    ]
