"""Native exports of the cloud providers: exact totals of real files, and every kind of charge kept apart."""

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from bursar.connectors.bills.azure import AZURE
from bursar.kernel.errors import Invalid
from tests.connectors.bills.reading import format_of, read, sums_of, totals
from tests.shared import shared_data

CUR = [
    "bill/PayerAccountId", "lineItem/UsageAccountId", "lineItem/LineItemType", "lineItem/UsageStartDate",
    "lineItem/UsageEndDate", "lineItem/ProductCode", "lineItem/UsageType", "lineItem/Operation", "lineItem/ResourceId",
    "lineItem/UsageAmount", "lineItem/CurrencyCode", "lineItem/UnblendedCost", "lineItem/UnblendedRate",
    "pricing/publicOnDemandCost", "reservation/ReservationARN", "reservation/EffectiveCost",
    "reservation/UnusedRecurringFee", "reservation/UnusedAmortizedUpfrontFeeForBillingPeriod",
    "savingsPlan/SavingsPlanARN", "savingsPlan/SavingsPlanEffectiveCost", "savingsPlan/TotalCommitmentToDate",
    "savingsPlan/UsedCommitment", "bill/BillingPeriodStartDate", "resourceTags/user:Team", "resourceTags/aws:createdBy",
]  # fmt: skip


def cur_row(kind: str, cost: str, **values: str) -> dict[str, str]:
    given = dict.fromkeys(CUR, "") | {
        "bill/PayerAccountId": "111",
        "lineItem/UsageAccountId": "222",
        "lineItem/LineItemType": kind,
        "lineItem/UsageStartDate": "2026-03-01T00:00:00Z",
        "lineItem/UsageEndDate": "2026-03-01T01:00:00Z",
        "lineItem/ProductCode": "AmazonEC2",
        "lineItem/UsageType": "EUC1-BoxUsage:m5.large",
        "lineItem/CurrencyCode": "USD",
        "lineItem/UnblendedCost": cost,
        "bill/BillingPeriodStartDate": "2026-03-01T00:00:00Z",
    }
    return given | {name.replace("__", "/"): value for name, value in values.items()}


CUR_ROWS = [
    cur_row("Usage", "1.00", pricing__publicOnDemandCost="1.10", **{"resourceTags__user:Team": 'a "b"'}),
    cur_row("DiscountedUsage", "0", reservation__ReservationARN="arn:ri", reservation__EffectiveCost="0.40"),
    cur_row("RIFee", "10", reservation__ReservationARN="arn:ri", reservation__UnusedRecurringFee="2.5",
            reservation__UnusedAmortizedUpfrontFeeForBillingPeriod="0.5"),
    cur_row("Fee", "100", reservation__ReservationARN="arn:ri"),
    cur_row("Fee", "29"),
    cur_row("SavingsPlanCoveredUsage", "2", savingsPlan__SavingsPlanARN="arn:sp", savingsPlan__SavingsPlanEffectiveCost="1.2"),
    cur_row("SavingsPlanNegation", "-2", savingsPlan__SavingsPlanARN="arn:sp"),
    cur_row("SavingsPlanRecurringFee", "3", savingsPlan__SavingsPlanARN="arn:sp",
            savingsPlan__TotalCommitmentToDate="3", savingsPlan__UsedCommitment="1.2"),
    cur_row("Tax", "0.19"),
    cur_row("Credit", "-5"),
    cur_row("Refund", "-1"),
    cur_row("EdpDiscount", "-0.07"),
]  # fmt: skip


def written(folder: Path, rows: list[dict[str, str]], *, name: str = "cur.csv") -> Path:
    path = folder / name
    pl.DataFrame(rows).write_csv(path)
    return path


def snake(name: str) -> str:
    head, _, tail = name.partition("/")
    if head == "resourceTags":
        return "resource_tags_" + tail.replace(":", "_").lower()
    spaced = "".join(f"_{c.lower()}" if c.isupper() else c for c in head + "_" + tail[:1].lower() + tail[1:])
    return spaced.replace("a_r_n", "arn")


def test_the_real_cost_and_usage_report_keeps_its_exact_total() -> None:
    path = shared_data("cloud/provider_exports/aws/sample-anonymous-aws-export-dataset.csv")

    parsed, taken, refused = read(path)

    assert (len(taken), len(refused)) == (1281, 0)
    assert totals(taken) == sums_of(path, "lineItem/UnblendedCost", "lineItem/CurrencyCode")
    assert "Read as CUR legacy." in parsed.notes
    assert taken.filter(pl.col("charge_category") == "Tax").height == 12


def test_every_kind_of_line_item_is_kept_apart_with_its_amortised_cost(tmp_path: Path) -> None:
    _, taken, refused = read(written(tmp_path, CUR_ROWS))

    assert refused.is_empty()
    seen = taken.select("charge_category", "billed_cost", "effective_cost").rows()
    assert seen == [
        (category, Decimal(billed), Decimal(effective))
        for category, billed, effective in [
            ("Usage", "1", "1"), ("Usage", "0", "0.40"), ("Purchase", "10", "3.0"), ("Purchase", "100", "0"),
            ("Purchase", "29", "29"), ("Usage", "2", "1.2"), ("Usage", "-2", "0"), ("Purchase", "3", "1.8"),
            ("Tax", "0.19", "0.19"), ("Credit", "-5", "-5"), ("Adjustment", "-1", "-1"), ("Adjustment", "-0.07", "-0.07"),
        ]
    ]  # fmt: skip
    assert totals(taken) == {"USD": sum((Decimal(row["lineItem/UnblendedCost"]) for row in CUR_ROWS), Decimal(0))}
    assert taken["commitment_discount_status"].to_list()[1:3] == ["Used", "Unused"]
    assert taken["instance_type"][0] == "m5.large"
    assert json.loads(taken["tags"][0]) == {"Team": 'a "b"'}


def test_both_header_styles_and_parquet_read_the_same(tmp_path: Path) -> None:
    _, legacy, _ = read(written(tmp_path, CUR_ROWS))
    renamed = [{snake(name): value for name, value in row.items()} for row in CUR_ROWS]
    _, athena, _ = read(written(tmp_path, renamed, name="athena.csv"))
    typed = pl.DataFrame(renamed).with_columns(
        pl.col("line_item_unblended_cost").cast(pl.Float64),
        pl.col("line_item_usage_start_date").str.to_datetime(time_zone="UTC"),
    )
    typed.write_parquet(tmp_path / "cur.parquet")
    _, parquet, _ = read(tmp_path / "cur.parquet")

    same = [name for name in legacy.columns if name not in {"tags", "row"}]
    assert athena.select(same).equals(legacy.select(same))
    assert parquet.select(same).equals(legacy.select(same))
    assert json.loads(athena["tags"][0]) == {"team": 'a "b"'}


def test_the_maps_of_the_second_report_become_columns(tmp_path: Path) -> None:
    renamed = [{snake(name): value for name, value in row.items() if "Tags" not in name} for row in CUR_ROWS[:1]]
    row = renamed[0] | {
        "bill_payer_account_name": "Payer",
        "product": '{"product_name":"Amazon Elastic Compute Cloud","region":"eu-central-1","sku":"S1"}',
        "resource_tags": '{"user_team":"web"}',
    }

    parsed, taken, _ = read(written(tmp_path, [row]))

    assert "Read as CUR 2.0." in parsed.notes
    line = taken.row(0, named=True)
    assert (line["service_name"], line["region_id"], line["sku_id"]) == (
        "Amazon Elastic Compute Cloud", "eu-central-1", "S1",
    )  # fmt: skip
    assert line["tags"] == '{"user_team":"web"}'
    assert line["service_category"] == "Compute"


def test_a_bedrock_line_counts_as_ai(tmp_path: Path) -> None:
    _, taken, _ = read(written(tmp_path, [cur_row("Usage", "1", lineItem__ProductCode="AmazonBedrock")]))

    assert taken["service_category"].to_list() == ["AI and Machine Learning"]


def test_the_real_oracle_report_keeps_its_total_to_fifteen_places() -> None:
    path = shared_data("cloud/provider_exports/oci/reports_cost-csv_0000000030000269.csv")

    parsed, taken, refused = read(path)

    assert (len(taken), len(refused)) == (506, 0)
    assert totals(taken) == sums_of(path, "cost/myCost", "cost/currencyCode")
    assert any("15 decimal places" in note for note in parsed.notes)
    assert json.loads(taken["tags"][0])["Oracle-Tags.CreatedBy"] == "default/phil.newman@oracle.com"


def test_the_real_azure_export_keeps_its_total_with_american_dates() -> None:
    path = shared_data("cloud/provider_exports/azure/sample-anonymous-ea-export-dataset.csv")

    _, taken, refused = read(path)

    assert (len(taken), len(refused)) == (27, 0)
    assert totals(taken) == sums_of(path, "CostInBillingCurrency", "BillingCurrencyCode")
    assert taken["charge_period_start"][0] == datetime(2023, 9, 2, tzinfo=UTC)
    assert taken["billing_period_end"][0] == date(2023, 10, 1)
    assert json.loads(taken["tags"][0]) == {"tagA": "valueA", "tagB": "valueB", "tagC": "valueC"}


@pytest.mark.parametrize(
    ("name", "cost"),
    [("BOM", None), ("Enterprise", "0"), ("EnterpriseCamel", "0.012"), ("German", "0.075"), ("PayAsYouGo", "0.075"), ("YA", "0.075")],
)  # fmt: skip
def test_every_spelling_of_the_azure_header_is_understood(name: str, cost: str | None) -> None:
    _, taken, refused = read(shared_data(f"cloud/azure_awkward/headersets/{name}.csv"))

    if cost is None:
        assert refused["_refused"].to_list()[0].startswith("PreTaxCost|is empty|")
    else:
        assert taken["billed_cost"].to_list() == [Decimal(cost)]
        assert taken["sub_account_id"].null_count() == 0
        assert taken["charge_period_start"].null_count() == 0


def test_azure_values_keep_their_total_and_tags_get_their_braces() -> None:
    folder = shared_data("cloud/azure_awkward/values")
    for path in sorted(folder.glob("*.csv")):
        parsed, taken, refused = read(path)

        assert refused.is_empty(), path.name
        assert totals(taken) == sums_of(path, "costinbillingcurrency"), path.name
        assert parsed.currency_hint == "USD"
        for tags in taken["tags"].drop_nulls():
            assert isinstance(json.loads(tags), dict)
    _, taken, _ = read(folder / "MissingBrackets.csv")
    assert json.loads(taken["tags"][0])["resourceNameSuffix"] == "12345678"


AZURE_ROW = {
    "Date": "03/01/2026", "SubscriptionId": "s", "MeterId": "m", "MeterCategory": "Virtual Machines",
    "ConsumedService": "Microsoft.Compute", "ResourceLocation": "westeurope", "UnitOfMeasure": "1 Hour",
    "Quantity": "10", "UnitPrice": "0.2", "CostInBillingCurrency": "2", "BillingCurrency": "EUR",
    "ChargeType": "Usage", "PricingModel": "OnDemand",
}  # fmt: skip


def test_amortised_cost_is_not_billed_where_a_commitment_paid(tmp_path: Path) -> None:
    rows = [
        AZURE_ROW,
        AZURE_ROW | {"PricingModel": "Reservation", "CostInBillingCurrency": "1.2"},
        AZURE_ROW | {"PricingModel": "SavingsPlan", "ChargeType": "UnusedSavingsPlan", "CostInBillingCurrency": "0.3"},
    ]

    parsed, taken, _ = read(written(tmp_path, rows))

    assert any("amortised" in note for note in parsed.notes)
    assert taken["billed_cost"].to_list() == [Decimal(2), Decimal(0), Decimal(0)]
    assert taken["effective_cost"].to_list() == [Decimal(2), Decimal("1.2"), Decimal("0.3")]
    assert taken["commitment_discount_status"].to_list() == [None, "Used", "Unused"]


def test_actual_cost_keeps_purchases_refunds_and_rounding_apart(tmp_path: Path) -> None:
    rows = [
        AZURE_ROW | {"ChargeType": kind, "CostInBillingCurrency": cost}
        for kind, cost in [("Usage", "2"), ("Purchase", "500"), ("Refund", "-20"), ("RoundingAdjustment", "0.01")]
    ]

    parsed, taken, _ = read(written(tmp_path, rows))

    assert any("actual cost" in note for note in parsed.notes)
    assert taken["charge_category"].to_list() == ["Usage", "Purchase", "Adjustment", "Adjustment"]
    assert totals(taken) == {"EUR": Decimal("482.01")}


def test_an_export_without_a_cost_column_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, [{"Date": "2026-03-01", "MeterId": "m"}])

    with pytest.raises(Invalid, match="no cost column"):
        AZURE.parse(path, options={})


def google_row(cost: object, reductions: object, **more: object) -> dict[str, object]:
    return {
        "billing_account_id": "01", "service": {"id": "6F81", "description": "Compute Engine"},
        "sku": {"id": "S", "description": "N1 Predefined Instance Core"},
        "usage_start_time": "2026-03-01 00:00:00 UTC", "usage_end_time": "2026-03-01 01:00:00 UTC",
        "project": {"id": "p", "name": "P"}, "labels": [{"key": "team", "value": "web"}],
        "location": {"location": "europe-west1", "region": "europe-west1"},
        "cost": cost, "currency": "EUR", "usage": {"amount": 3600.0, "unit": "seconds"},
        "credits": reductions, "invoice": {"month": "202604"}, "cost_type": "regular",
    } | more  # fmt: skip


GOOGLE = [
    google_row(0.1234, [{"name": "CUD", "amount": -0.05, "type": "COMMITTED_USAGE_DISCOUNT", "full_name": "Committed"},
                        {"name": "SUD", "amount": -0.0034, "type": "SUSTAINED_USAGE_DISCOUNT", "full_name": "Sustained"}]),
    google_row(1e-09, []),
    google_row(0.5, [], cost_type="tax"),
    google_row(-0.01, [], cost_type="rounding_error"),
]  # fmt: skip


def check_google(taken: pl.DataFrame) -> None:
    assert totals(taken) == {"EUR": Decimal("0.56") + Decimal("0.000000001")}
    assert taken["charge_category"].to_list() == ["Usage", "Credit", "Credit", "Usage", "Tax", "Adjustment"]
    assert taken["billed_cost"].to_list()[1:3] == [Decimal("-0.05"), Decimal("-0.0034")]
    assert taken["consumed_quantity"].to_list()[:2] == [Decimal(3600), None]
    assert taken["charge_description"].to_list()[1] == "Committed"
    assert taken["billing_period_start"].to_list() == [date(2026, 4, 1)] * 6
    assert taken["service_name"].to_list() == ["Compute Engine"] * 6
    assert json.loads(taken["tags"][0]) == {"team": "web"}


def test_google_newline_json_makes_credits_lines_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text("\n".join(map(json.dumps, GOOGLE)) + "\n", encoding="utf-8")

    _, taken, refused = read(path)

    assert refused.is_empty()
    check_google(taken)


def test_google_json_array_and_parquet_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(json.dumps(GOOGLE), encoding="utf-8")
    pl.DataFrame(GOOGLE).write_parquet(tmp_path / "export.parquet")

    for name in ("export.json", "export.parquet"):
        _, taken, _ = read(tmp_path / name)
        check_google(taken)


def flat(row: dict[str, object]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": str(part) for inner, part in value.items()}
        else:
            found[name] = json.dumps(value) if isinstance(value, list) else str(value)
    return found


def test_google_csv_with_dotted_names_reads_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, [flat(row) for row in GOOGLE])

    _, taken, refused = read(path)

    assert refused.is_empty()
    check_google(taken)
    assert taken["row"].to_list() == [2, 2, 2, 3, 4, 5]


def test_unreadable_google_credits_refuse_a_row_and_lose_nothing_silently(tmp_path: Path) -> None:
    path = written(tmp_path, [flat(GOOGLE[1]) | {"credits": "{broken"}, flat(GOOGLE[2])])

    _, taken, refused = read(path)

    assert totals(taken) == {"EUR": Decimal("0.5") + Decimal("0.000000001")}
    assert refused["row"].to_list() == [2]
    assert "'unreadable credits' is not a decimal number" in refused["_refused"][0]


def test_every_bill_among_the_real_files_has_exactly_one_format() -> None:
    expected = {
        "focus_1_0/FOCUS-1.0/focus_sample.csv": "focus",
        "provider_exports/aws/sample-anonymous-aws-export-dataset.csv": "aws-cur",
        "provider_exports/azure/sample-anonymous-ea-export-dataset.csv": "azure-cost",
        "provider_exports/oci/reports_cost-csv_0000000030000269.csv": "oci-cost",
    }
    for path, name in expected.items():
        assert format_of(shared_data(f"cloud/{path}")).name == name
    for scenario in shared_data("cloud/focus_scenarios").glob("*.csv"):
        assert format_of(scenario).name == "focus"


STREAMED = {"map", "with-columns", "select", "filter", "simple-projection", "multi-scan[csv]", "multi-scan[ndjson]"}
"""Steps of a physical plan that hold a part of a column at a time."""


def steps(path: Path) -> set[str]:
    lines = format_of(path).parse(path, options={}).lines
    plan = lines.show_graph(engine="streaming", plan_stage="physical", raw_output=True, show=False)
    assert plan is not None
    return set(re.findall(r'label="([^"\\\n]*)', plan))


@pytest.mark.parametrize(
    "path",
    [
        "focus_1_0/FOCUS-1.0/focus_sample.csv",
        "provider_exports/aws/sample-anonymous-aws-export-dataset.csv",
        "provider_exports/azure/sample-anonymous-ea-export-dataset.csv",
        "provider_exports/oci/reports_cost-csv_0000000030000269.csv",
    ],
)
def test_no_step_of_reading_a_bill_holds_a_whole_column(path: str) -> None:
    assert steps(shared_data(f"cloud/{path}")) <= STREAMED


def test_no_step_of_reading_a_report_made_here_holds_a_whole_column(tmp_path: Path) -> None:
    assert steps(written(tmp_path, [cur_row("Usage", "1.5")])) <= STREAMED
