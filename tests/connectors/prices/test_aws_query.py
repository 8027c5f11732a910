"""AWS query API: the signature is botocore's, pages are followed, throttling is waited out, refusals say why."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials

from bursar.connectors.prices.aws_query import AwsQuery, Credentials, QueriedServices, sign
from bursar.infra.http import Answered, NoAnswer
from bursar.kernel.errors import Invalid
from tests.connectors.prices.clients import as_json, no_wait, serve, talking
from tests.infra.servers import Asked, answer

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
MINE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session-token")


def product(number: int = 1, **terms: Any) -> str:
    on_demand = {
        "unit": "Hrs",
        "beginRange": "0",
        "endRange": "Inf",
        "description": "$0.115 per On Demand",
        "pricePerUnit": {"USD": "0.1150000000"},
    }
    attributes = {"servicecode": "AmazonEC2", "instanceType": "m5.large", "regionCode": "eu-central-1", "vcpu": "2"}
    attributes |= {"memory": "8 GiB", "operatingSystem": "Linux", "usagetype": "EUC1-BoxUsage:m5.large"}
    usual = {
        "OnDemand": {f"S{number}.JRT": {"effectiveDate": "2026-10-01T00:00:00Z", "priceDimensions": {"x": on_demand}}}
    }
    document = {
        "product": {"sku": f"S{number}", "productFamily": "Compute Instance", "attributes": attributes},
        "serviceCode": "AmazonEC2",
        "terms": usual | terms,
    }
    return json.dumps(document)


def test_the_signature_is_the_one_botocore_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    url, body = "https://api.pricing.us-east-1.amazonaws.com/", b'{"ServiceCode": "AmazonEC2"}'
    plain = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AWSPriceListService.GetProducts"}
    ours = sign(MINE, region="us-east-1", url=url, headers=plain, body=body, now=NOW)
    theirs = AWSRequest("POST", url, headers=plain | {"X-Amz-Date": ours["x-amz-date"]}, data=body)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW.replace(tzinfo=None), raising=False)
    SigV4Auth(TheirCredentials(MINE.key, MINE.secret, MINE.token), "pricing", "us-east-1").add_auth(theirs)

    assert ours["authorization"] == theirs.headers["Authorization"]


def test_a_secret_is_not_shown() -> None:
    assert MINE.secret not in repr(MINE)
    assert MINE.token not in repr(MINE)


def question(asked: Asked) -> Mapping[str, Any]:
    return dict(json.loads(asked.body))


async def ask(reply: Any) -> tuple[Any, list[Asked]]:
    async with talking(serve(reply)) as (server, client):
        api = AwsQuery(client, MINE, clock=lambda: NOW, base=server.url("/"), sleep=no_wait)
        table = await api.products("AmazonEC2", {"instanceType": "m5.large"}, day=date(2026, 11, 1))
        return table, server.asked


async def test_pages_are_followed_and_prices_are_exact() -> None:
    def reply(asked: Asked) -> bytes:
        first = "NextToken" not in question(asked)
        page: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": [product(1 if first else 2)]}
        return as_json(json.dumps(page | ({"NextToken": "t"} if first else {})).encode())

    table, asked = await ask(reply)

    assert table["sku"].to_list() == ["S1", "S2"]
    assert table["price"].to_list() == [Decimal("0.115")] * 2
    assert question(asked[0])["Filters"] == [{"Type": "TERM_MATCH", "Field": "instanceType", "Value": "m5.large"}]
    assert (
        asked[0]
        .headers["authorization"]
        .startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261101/us-east-1/pricing")
    )


async def test_whole_services_of_a_region_are_a_catalogue() -> None:
    async with talking(serve(lambda _: as_json(json.dumps({"PriceList": [product(1), product(2)]}).encode()))) as (
        server,
        client,
    ):
        api = AwsQuery(client, MINE, clock=lambda: NOW, base=server.url("/"), sleep=no_wait)
        catalogue = QueriedServices(api, ["AmazonEC2", "AmazonRDS"], ["eu-central-1"])
        table = await catalogue.read("eu-central-1", day=date(2026, 11, 1))

        asked = [(question(one)["ServiceCode"], question(one)["Filters"][0]["Value"]) for one in server.asked]
    assert asked == [("AmazonEC2", "eu-central-1"), ("AmazonRDS", "eu-central-1")]
    assert table.height == 4


async def test_reserved_terms_spread_their_upfront() -> None:
    dimensions = {
        "h": {"unit": "Hrs", "pricePerUnit": {"USD": "0.035"}},
        "u": {"unit": "Quantity", "pricePerUnit": {"USD": "307"}},
    }
    attributes = {"LeaseContractLength": "1yr", "PurchaseOption": "Partial Upfront", "OfferingClass": "convertible"}
    text = product(Reserved={"S1.HU7": {"termAttributes": attributes, "priceDimensions": dimensions}})

    table, _ = await ask(lambda _asked: as_json(json.dumps({"PriceList": [text]}).encode()))

    price = dict(zip(table["term"].to_list(), table["price"].to_list(), strict=True))
    assert round(price["reserved_1y_partial_upfront_convertible"], 10) == round(
        Decimal("0.035") + Decimal(307) / 8760, 10
    )


async def test_throttling_is_waited_out() -> None:
    calls = [0]

    def reply(_asked: Asked) -> bytes:
        calls[0] += 1
        if calls[0] < 4:
            return as_json(b'{"__type": "com.amazon#ThrottlingException"}', 400)
        return as_json(json.dumps({"PriceList": [product()]}).encode())

    table, _ = await ask(reply)

    assert table.height == 1
    assert calls[0] == 4


@pytest.mark.parametrize(
    ("data", "error", "what"),
    [
        (as_json(b'{"__type": "x#ThrottlingException"}', 400), NoAnswer, "throttles"),
        (as_json(b'{"__type": "x#UnrecognizedClientException"}', 400), Invalid, "credentials"),
        (as_json(b'{"__type": "x#InvalidParameterException"}', 400), Invalid, "question"),
        (as_json(b'{"PriceList": ["{broken"]}'), NoAnswer, "broken"),
        (as_json(b'{"PriceList": [], "NextToken": "t"}'), NoAnswer, "same page token"),
        (as_json(b'{"PriceList": ['), NoAnswer, "broken"),
        (answer(200, b"<html>", content_type="text/html"), NoAnswer, "text/html"),
        (answer(500, b"oops"), Answered, "500"),
    ],
)
async def test_what_cannot_be_trusted_is_refused(data: bytes, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        await ask(lambda _asked: data)


async def test_a_region_without_the_api_is_refused() -> None:
    async with talking(serve(lambda _asked: answer())) as (_server, client):
        with pytest.raises(Invalid, match="mars-north-1"):
            AwsQuery(client, MINE, clock=lambda: NOW, region="mars-north-1")
