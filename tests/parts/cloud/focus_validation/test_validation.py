"""FOCUS validation: one broken thing in a clean file is found as the right rule, at the right row."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar.kernel.errors import Invalid, NotFound
from bursar.parts.cloud.focus_validation import store
from bursar.parts.cloud.focus_validation.rules.checks import IMPLIED_BY, PATTERNS
from bursar.parts.cloud.focus_validation.rules.checks import test_values as check_values
from bursar.parts.cloud.focus_validation.rules.model import load_model
from bursar.parts.cloud.focus_validation.rules.readings import CONDITIONS, READINGS
from bursar.parts.cloud.focus_validation.rules.report import Report, Verdict
from bursar.parts.cloud.focus_validation.service import bundled_model, bundled_versions, model_from, validate
from bursar.reports.sample.model import Notebook, Span
from bursar.reports.sample.vendors import write_saas
from bursar.reports.sample.write import END
from tests.shared import shared_data

Row = dict[str, str]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("saas")
    write_saas(Span(END, 24), Notebook(), folder)
    text = (folder / "cloud/signalgrid-focus-1.2.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def written(rows: list[Row], path: Path) -> Path:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path


def failed(report: Report) -> dict[str, tuple[int, ...]]:
    return {outcome.rule.id: outcome.rows for outcome in report.violations}


def test_a_clean_file_has_no_violation_and_at_least_600_rules_are_decided(clean: list[Row], tmp_path: Path) -> None:
    report = validate(written(clean, tmp_path / "a.csv"))

    assert report.violations == []
    assert len(report.outcomes) == 621
    assert report.decided >= 600
    assert all(outcome.why for outcome in report.undecided)
    assert sum(report.counts.values()) == 621


COMMITTED = {
    "CommitmentDiscountId": "plan-1",
    "CommitmentDiscountName": "Plan",
    "CommitmentDiscountCategory": "Spend",
    "CommitmentDiscountType": "Savings Plan",
    "CommitmentDiscountUnit": "USD",
    "CommitmentDiscountQuantity": "1",
    "CommitmentDiscountStatus": "Used",
    "PricingCategory": "Committed",
    "BilledCost": "0",
}
"""A row covered by a commitment, as it should be."""

BROKEN: list[tuple[Row, str]] = [
    ({"BilledCost": "1,234.50"}, "BilledCost-C-002-M"),
    ({"BilledCost": "1,234.50"}, "NumericFormat-A-009-M"),
    ({"BilledCost": "$5"}, "NumericFormat-A-008-M"),
    ({"EffectiveCost": "+5"}, "NumericFormat-A-010-M"),
    ({"EffectiveCost": "1E+5"}, "NumericFormat-A-006-M"),
    ({"ListCost": "1/2"}, "NumericFormat-A-004-M"),
    ({"BilledCost": ""}, "BilledCost-C-003-M"),
    ({"EffectiveCost": "x"}, "EffectiveCost-C-004-M"),
    ({"ChargePeriodStart": "2025-01-01 00:00:00"}, "ChargePeriodStart-C-002-M"),
    ({"ChargePeriodStart": "2025-01-01 00:00:00"}, "DateTimeFormat-A-004-M"),
    ({"ChargePeriodStart": "2025-01-01T00:00:00+02:00"}, "DateTimeFormat-A-001-M"),
    ({"ChargePeriodEnd": "2025-01-31T23:59:59Z"}, "ChargePeriodEnd-C-004-M"),
    ({"BillingPeriodStart": "2025-01-01T08:00:00Z"}, "BillingPeriodStart-C-004-M"),
    ({"ChargeCategory": "Consumption"}, "ChargeCategory-C-003-M"),
    ({"ChargeClass": "Wrong"}, "ChargeClass-C-005-C"),
    ({"BillingCurrency": "EURO"}, "BillingCurrency-C-006-M"),
    ({"ListUnitPrice": "-1"}, "ListUnitPrice-C-008-M"),
    ({"ListCost": "999"}, "ListUnitPrice-C-010-C"),
    ({"ContractedCost": "999"}, "ContractedUnitPrice-C-011-C"),
    ({"Tags": "env=prod"}, "Tags-C-001-M"),
    ({"Tags": '{"a": {"b": 1}}'}, "KeyValueFormat-A-004-M"),
    ({"Tags": '{"a": 1, "a": 2}'}, "KeyValueFormat-A-002-M"),
    ({"RegionName": "Frankfurt"}, "RegionId-C-004-C"),
    ({"ServiceName": "N/A"}, "NullHandling-A-002-M"),
    ({"ServiceSubcategory": "Nonsense"}, "ServiceSubcategory-C-003-M"),
    ({"ServiceCategory": "Compute"}, "ServiceSubcategory-C-004-M"),
    ({"ResourceId": ""}, "ResourceId-C-005-C"),
    ({"ResourceName": "sg-seat", "ResourceId": "sg-seat"}, "ResourceName-C-006-C"),
    ({"ConsumedQuantity": ""}, "ConsumedQuantity-C-006-C"),
    ({"PricingCurrency": ""}, "PricingCurrencyEffectiveCost-C-006-M"),
    ({"SkuPriceDetails": '{"corecount": 4}'}, "SkuPriceDetails-C-020-M"),
    ({"SkuPriceDetails": '{"CoreCount": "4"}'}, "SkuPriceDetails-C-021-M"),
    ({"CapacityReservationStatus": "Used"}, "CapacityReservationStatus-C-003-C"),
    (COMMITTED | {"CommitmentDiscountStatus": ""}, "CommitmentDiscountStatus-C-004-C"),
    (COMMITTED | {"CommitmentDiscountStatus": "Active"}, "CommitmentDiscountStatus-C-005-M"),
    (COMMITTED | {"BilledCost": "5"}, "DiscountHandling-A-009-C"),
    (COMMITTED | {"CommitmentDiscountId": ""}, "CommitmentDiscountId-C-005-C"),
    (COMMITTED | {"PricingCategory": "Standard"}, "PricingCategory-C-009-C"),
    (COMMITTED | {"CommitmentDiscountStatus": "Unused"}, "DiscountHandling-A-019-C"),
    ({"ChargeCategory": "Credit", "EffectiveCost": "3", "BilledCost": "-3"}, "EffectiveCost-C-010-C"),
    ({"ChargeCategory": "Tax"}, "ListUnitPrice-C-004-C"),
    ({"ChargeCategory": "Purchase", "ChargeFrequency": "Usage-Based"}, "ChargeFrequency-C-004-C"),
]


@pytest.mark.parametrize(("change", "rule"), BROKEN)
def test_one_broken_value_is_found_as_its_rule_at_its_row(
    clean: list[Row], tmp_path: Path, change: Row, rule: str
) -> None:
    rows = [dict(row) for row in clean]
    rows[40] |= change

    found = failed(validate(written(rows, tmp_path / "a.csv")))

    assert found[rule] == (42,)


def test_a_row_covered_by_a_commitment_as_it_should_be_passes(clean: list[Row], tmp_path: Path) -> None:
    rows = [dict(row) for row in clean]
    rows[40] |= COMMITTED

    assert failed(validate(written(rows, tmp_path / "a.csv"))) == {}


MANY: list[tuple[Callable[[list[Row]], None], str]] = [
    (lambda rows: rows[5].update(SkuId="SG-OTHER"), "SkuPriceId-C-008-M"),
    (lambda rows: rows[5].update(InvoiceId=""), "InvoiceId-C-005-C"),
    (lambda rows: rows[5].update(ServiceName=rows[5]["ServiceName"].upper()), "StringHandling-A-003-M"),
    (lambda rows: rows[5].update(ResourceType="Other"), "ResourceId-C-007-M"),
    (lambda rows: rows[5].update(ResourceName=""), "ResourceName-C-005-C"),
]


@pytest.mark.parametrize(("change", "rule"), MANY)
def test_rows_that_contradict_each_other_are_found(
    clean: list[Row], tmp_path: Path, change: Callable[[list[Row]], None], rule: str
) -> None:
    rows = [dict(row) for row in clean]
    change(rows)

    outcome = next(item for item in validate(written(rows, tmp_path / "a.csv")).violations if item.rule.id == rule)

    assert outcome.count == 1
    assert outcome.rows


def test_a_missing_column_is_one_violation_with_a_repair_and_no_row_rule_of_it_applies(
    clean: list[Row], tmp_path: Path
) -> None:
    rows = [{key: value for key, value in row.items() if key != "BilledCost"} for row in clean]

    report = validate(written(rows, tmp_path / "a.csv"))

    assert [(o.rule.function, o.repair) for o in report.violations] == [
        ("Presence", "Add the column BilledCost, empty where there is no value.")
    ]
    verdicts = {o.rule.id: o.verdict for o in report.outcomes}
    assert verdicts["BilledCost-C-003-M"] is Verdict.NOT_APPLICABLE
    assert verdicts["CostAndUsage-D-000-M"] is Verdict.FAILED


def test_a_column_of_unknown_name_and_a_late_focus_column_are_found(clean: list[Row], tmp_path: Path) -> None:
    rows = [{"my_note": "x"} | row for row in clean]

    report = validate(written(rows, tmp_path / "a.csv"))

    assert {o.rule.id for o in report.violations} >= {"ColumnHandling-A-010-M", "ColumnHandling-A-001-M"}
    assert "ColumnHandling-A-012-O" in {o.rule.id for o in report.advice}


def test_criteria_are_inferred_or_said(clean: list[Row], tmp_path: Path) -> None:
    lacking = [{key: value for key, value in row.items() if "Region" not in key} for row in clean]
    path = written(lacking, tmp_path / "a.csv")
    verdict = {o.rule.id: o for o in validate(path).outcomes}
    said = {o.rule.id: o.verdict for o in validate(path, supports=["ALL"]).outcomes}

    presence = bundled_model("1.2").columns["RegionId"]
    assert verdict[presence].verdict is Verdict.NOT_APPLICABLE
    assert "REGION_SUPPORTED" in verdict[presence].why
    assert said[presence] is Verdict.FAILED
    with pytest.raises(Invalid, match="NO_SUCH"):
        validate(path, supports=["NO_SUCH"])


@pytest.mark.parametrize("form", ["gz", "zst", "bom", "semicolon", "crlf", "NULL"])
def test_every_form_of_csv_gives_the_same_answer(clean: list[Row], tmp_path: Path, form: str) -> None:
    rows = [dict(row) for row in clean]
    rows[7]["BilledCost"] = "abc"
    data = written(rows, tmp_path / "a.csv").read_bytes()
    expected = failed(validate(tmp_path / "a.csv"))
    changed = {
        "gz": lambda: gzip.compress(data),
        "zst": lambda: zstandard.ZstdCompressor().compress(data),
        "bom": lambda: b"\xef\xbb\xbf" + data,
        "semicolon": lambda: _semicolons(rows),
        "crlf": lambda: data.replace(b"\n", b"\r\n"),
        "NULL": lambda: data.replace(b",,", b",NULL,").replace(b",,", b",NULL,"),
    }[form]()
    path = tmp_path / "b.csv"
    path.write_bytes(changed)

    assert failed(validate(path)) == expected


def _semicolons(rows: list[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=";", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def test_parquet_gives_the_same_answer(clean: list[Row], tmp_path: Path) -> None:
    frame = pl.read_csv(written(clean, tmp_path / "a.csv"), infer_schema=False).with_columns(
        pl.col("BilledCost").cast(pl.Decimal(38, 15)),
        pl.col("ChargePeriodStart", "ChargePeriodEnd").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC"),
    )
    frame.write_parquet(tmp_path / "a.parquet")

    report = validate(tmp_path / "a.parquet")

    assert failed(report) == {}
    assert report.rows == len(clean)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text('ab"\n,', max_size=12), st.text("cd\n", max_size=8)), min_size=1, max_size=30),
    st.integers(1, 40),
)
def test_cutting_into_blocks_never_changes_a_row(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], size: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("One", "Two"), *cells])
    path = tmp_path_factory.mktemp("cut") / "a.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "BLOCK_BYTES", size)
        source = store.blocks(path)
        read = [
            (one or "", two or "")
            for batch in source
            for one, two in zip(batch.column("One").series, batch.column("Two").series, strict=True)
        ]

    assert read == cells


@pytest.mark.parametrize(
    "data", [b"", b"no table\n", b"A,A\n1,2\n", b"PAR1 broken", b"A,B\n1,2,3\n", b'A,B\n"1,2\n' + b"x" * 100]
)
def test_what_is_no_table_is_refused(tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROW_BYTES_MAX", 40)
    monkeypatch.setattr(store, "BLOCK_BYTES", 16)
    (tmp_path / "a.csv").write_bytes(data)

    with pytest.raises(Invalid):
        validate(tmp_path / "a.csv")


def test_the_official_sample_fails_where_it_is_known_to() -> None:
    path = shared_data("cloud/focus_1_0/FOCUS-1.0/focus_sample.csv")
    report = validate(path, supports=["ALL"])
    broken = failed(report)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    allowed = {"One-Time", "Recurring", "Usage-Based"}
    odd = tuple(number for number, row in enumerate(rows, start=2) if row["ChargeFrequency"] not in allowed)

    assert report.rows == len(rows) == 1000
    assert broken["BillingPeriodStart-C-002-M"][:2] == (2, 3)  # "2024-09-01 00:00:00" is not ISO 8601 with T and Z
    assert broken["ChargeFrequency-C-003-M"] == odd
    assert "ContractedCost-C-003-M" in broken
    assert report.decided >= 600


def test_a_model_of_another_version_is_loaded_and_its_rules_in_words_are_read_by_their_words(
    clean: list[Row], tmp_path: Path
) -> None:
    path = shared_data("cloud/focus_rules/model-1.2.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps(document).replace("-A-0", "-A-9").replace('"FOCUSVersion": "1.2"', '"FOCUSVersion": "1.9"')
    (tmp_path / "model.json").write_text(text, encoding="utf-8")

    report = validate(written(clean, tmp_path / "a.csv"), model=model_from(tmp_path / "model.json"))

    assert report.version == "1.9"
    assert report.decided >= 600
    assert report.violations == []


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "not json",
        '{"Details": {"FOCUSVersion": "9"}, "ModelRules": {"A": {"Function": "Composite"}}}',
        json.dumps(
            {
                "Details": {"FOCUSVersion": "9"},
                "ModelRules": {
                    "A": {
                        "Function": "Composite",
                        "Reference": "x",
                        "ValidationCriteria": {
                            "Keyword": "MUST",
                            "MustSatisfy": "x",
                            "Requirement": {"Items": [{"ModelRuleId": "A"}]},
                        },
                    }
                },
            }
        ),
    ],
)
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        load_model(text)


def test_an_unknown_version_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("A,B\n1,2\n", encoding="utf-8")

    assert bundled_versions() == ["1.2"]
    with pytest.raises(NotFound):
        validate(tmp_path / "a.csv", version="0.5")


def test_every_reading_is_of_a_rule_and_every_rule_in_words_has_one() -> None:
    rules = bundled_model("1.2").rules

    assert set(READINGS) | set(CONDITIONS) <= set(rules)
    assert {key for key, rule in rules.items() if rule.dynamic and not rule.permits} <= set(READINGS)


@settings(deadline=None)
@given(st.from_regex(PATTERNS["numeric"], fullmatch=True) | st.text("0123456789.eE+-,/ $", max_size=12))
def test_a_strict_number_or_date_passes_every_test_it_implies(text: str) -> None:
    values = pl.Series([text])
    for weaker, stricter in IMPLIED_BY.items():
        if check_values(stricter, values).all():
            assert check_values(weaker, values).all()


@settings(deadline=None)
@given(st.datetimes())
def test_a_strict_date_passes_every_test_it_implies(at: datetime) -> None:
    values = pl.Series([f"{at:%Y-%m-%dT%H:%M:%S}Z"])
    if check_values("datetime", values).all():
        assert all(check_values(weaker, values).all() for weaker, kind in IMPLIED_BY.items() if kind == "datetime")
