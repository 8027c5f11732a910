"""AI vendors' cost exports, and the FOCUS datasets around cost and usage."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from bursar.connectors.bills.ai_usage import ANTHROPIC, OPENAI
from bursar.connectors.bills.focus_reference import BILLING_PERIOD, CONTRACT_COMMITMENT, INVOICE_DETAIL
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import DocumentKind
from tests.connectors.bills.reading import read, totals

MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def file(folder: Path, text: str, name: str = "export.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_openai_costs_of_the_dashboard(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id\n"
        '1772323200,1772409600,2026-03-01T00:00:00+00:00,2026-03-02T00:00:00+00:00,0.8958740000000001,usd,"gpt-5-mini, input",p,o\n'
        "1772409600,1772496000,2026-03-02T00:00:00+00:00,2026-03-03T00:00:00+00:00,,,,,\n",
    )

    _, taken, refused = read(path)

    assert refused.is_empty()
    line = taken.row(0, named=True)
    assert totals(taken) == {"USD": Decimal("0.895874000000000")}
    assert (line["provider"], line["charge_period_start"], line["sku_id"]) == ("openai", MARCH, "gpt-5-mini")
    assert line["service_category"] == "AI and Machine Learning"


def test_openai_costs_of_the_endpoint(tmp_path: Path) -> None:
    bucket = {
        "object": "bucket", "start_time": 1772323200, "end_time": 1772409600,
        "results": [{"object": "organization.costs.result", "amount": {"value": 0.06, "currency": "usd"},
                     "line_item": "Image models", "project_id": "p"}],
    }  # fmt: skip
    answer = {"object": "page", "data": [bucket, bucket | {"results": []}], "has_more": False}

    _, taken, _ = read(file(tmp_path, json.dumps(answer), "costs.json"))

    assert totals(taken) == {"USD": Decimal("0.06")}
    assert taken["charge_period_start"].to_list() == [MARCH]


def test_a_count_of_tokens_without_cost_is_refused_not_priced_at_nothing(tmp_path: Path) -> None:
    openai = file(tmp_path, "start_time,end_time,model,num_model_requests,input_tokens,output_tokens\n1,2,m,3,4,5\n")
    anthropic = file(tmp_path, "usage_date_utc,model,usage_input_tokens_no_cache\n2026-03-01,m,5\n", "usage.csv")

    with pytest.raises(Invalid, match="holds no cost"):
        OPENAI.parse(openai, options={})
    with pytest.raises(Invalid, match="holds no cost"):
        ANTHROPIC.parse(anthropic, options={})


def test_anthropic_costs_of_the_console(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd\n"
        "2026-03-01,Claude Sonnet 4,Default,key,message,<= 200k,input_no_cache,1.25\n",
    )

    _, taken, _ = read(path)

    assert totals(taken) == {"USD": Decimal("1.25")}
    assert taken["charge_period_start"].to_list() == [MARCH]
    assert taken["sku_id"].to_list() == ["Claude Sonnet 4"]


def test_anthropic_costs_of_the_endpoint_are_cents(tmp_path: Path) -> None:
    answer = {
        "data": [{"starting_at": "2026-03-01T00:00:00Z", "ending_at": "2026-03-02T00:00:00Z",
                  "results": [{"currency": "USD", "amount": "123.78912", "workspace_id": "w", "cost_type": "tokens",
                               "description": "Input", "model": "m", "token_type": "output_tokens"}]}],
        "has_more": False,
    }  # fmt: skip

    _, taken, _ = read(file(tmp_path, json.dumps(answer), "cost.json"))

    assert totals(taken) == {"USD": Decimal("1.2378912")}


def test_invoice_details_of_focus_1_4(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "BilledCost,BillingAccountId,BillingCurrency,BillingPeriodEnd,BillingPeriodStart,ChargeCategory,"
        "InvoiceDetailId,InvoiceId,InvoiceIssueDate,InvoiceIssueStatus,InvoiceIssuerName,PaymentDueDate\n"
        "1395.379285,a,USD,2026-04-01T00:00:00Z,2026-03-01T00:00:00Z,Usage,d1,i1,2026-04-03T00:00:00Z,Issued,AWS,2026-05-03\n"
        ",a,USD,2026-04-01T00:00:00Z,2026-03-01T00:00:00Z,Tax,d2,i1,,Issued,AWS,\n",
    )

    parsed, taken, refused = read(path)

    assert parsed.schema.name == "invoice_detail"
    assert taken["billed_cost"].to_list() == [Decimal("1395.379285")]
    assert taken["due_day"].to_list() == [date(2026, 5, 3)]
    assert refused["_refused"][0].startswith("BilledCost|is empty|")


def test_contract_commitments_of_focus_1_3_and_1_4(tmp_path: Path) -> None:
    older = (
        "ContractCommitmentId,ContractCommitmentType,ContractCommitmentCategory,ContractCommitmentCost,"
        "ContractCommitmentQuantity,ContractCommitmentUnit,ContractCommitmentPeriodStart,ContractCommitmentPeriodEnd,"
        "ContractId,BillingCurrency"
    )
    row = "CC-1,Savings Plan,Spend,280460.16,,,2026-04-01T00:00:00Z,2027-04-01T00:00:00Z,C-1,USD"

    parsed, taken, _ = read(file(tmp_path, f"{older}\n{row}\n"))
    _, newer, _ = read(file(tmp_path, f"{older},ServiceProviderName\n{row},Amazon Web Services\n", "new.csv"))

    assert parsed.schema.name == "contract_commitment"
    assert totals(taken, "cost") == {"USD": Decimal("280460.16")}
    assert newer["provider"].to_list() == ["aws"]


def test_billing_periods_of_focus_1_4(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "BillingPeriodCreated,BillingPeriodEnd,BillingPeriodLastUpdated,BillingPeriodStart,BillingPeriodStatus,InvoiceIssuerName\n"
        "2026-02-27T00:00:00Z,2026-04-01T00:00:00Z,2026-04-05T00:00:00Z,2026-03-01T00:00:00Z,Closed,AWS\n",
    )

    parsed, taken, _ = read(path)

    assert parsed.schema.name == "billing_period"
    assert taken.select("start", "end", "status").rows() == [(date(2026, 3, 1), date(2026, 4, 1), "Closed")]


def test_reference_datasets_are_no_bills(tmp_path: Path) -> None:
    assert {c.kind for c in (BILLING_PERIOD, CONTRACT_COMMITMENT, INVOICE_DETAIL)} == {DocumentKind.REFERENCE}
