"""FOCUS cost and usage: exact totals of the public samples, and the awkward forms a file can take."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from bursar.connectors.bills import source as source_module
from bursar.connectors.bills.focus import FOCUS
from bursar.kernel.errors import Invalid, TooLarge
from tests.connectors.bills.reading import format_of, read, sums_of, totals
from tests.shared import shared_data

HEADER = "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ServiceName,ProviderName,Tags"
ROW = "1.50,EUR,2026-03-01T00:00:00Z,2026-03-02T00:00:00Z,Usage,Compute,Microsoft,"


def bill(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "bill.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_the_public_sample_keeps_its_exact_total() -> None:
    path = shared_data("cloud/focus_1_0/FOCUS-1.0/focus_sample.csv")

    parsed, taken, refused = read(path)

    assert len(taken) == 1000
    assert refused.is_empty()
    assert totals(taken) == sums_of(path, "BilledCost", "BillingCurrency")
    assert totals(taken, "effective_cost") == sums_of(path, "EffectiveCost", "BillingCurrency")
    assert set(taken["provider"]) == {"aws", "azure", "oci"}
    assert "Read as FOCUS 1.0." in parsed.notes


def test_every_scenario_of_the_specification_keeps_its_total_or_names_the_bad_row() -> None:
    for path in sorted(shared_data("cloud/focus_scenarios").glob("*.csv")):
        _, taken, refused = read(path)

        expected = sums_of(path, "BilledCost", "BillingCurrency" if "BillingCurrency" in path.read_text() else "")
        if not refused.is_empty():
            assert refused["_refused"].to_list() == [
                "ChargePeriodEnd|'2023-02-01T30:00:00Z' is not a date and time|Write it like 2026-01-31T00:00:00Z."
            ], path.name
            expected = {"USD": expected["USD"] - Decimal(refused["billed_cost"].sum())}
        assert totals(taken) == expected, path.name


def test_a_row_number_is_the_line_of_the_file(tmp_path: Path) -> None:
    path = bill(tmp_path, ROW, "", ROW.replace("1.50", "abc"))

    _, taken, refused = read(path)

    assert taken["row"].to_list() == [2]
    assert refused["row"].to_list() == [4]
    assert refused["_refused"][0].startswith("BilledCost|'abc' is not a decimal number|")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-15", "0.000000000000001"),
        ("-0.000000000000001", "-0.000000000000001"),
        ('"$10,000.00 "', "10000"),
        ("(12.50)", "-12.50"),
        ("5.64902E-05", "0.0000564902"),
        ("99999999999999999999999", "99999999999999999999999"),
        (" 7 ", "7"),
        ("+.5", "0.5"),
    ],
)
def test_an_amount_is_read_exactly(tmp_path: Path, written: str, meant: str) -> None:
    _, taken, _ = read(bill(tmp_path, ROW.replace("1.50", written)))

    assert taken["billed_cost"].to_list() == [Decimal(meant)]


@pytest.mark.parametrize(
    "written", ["NaN", "inf", "1e400", "12,5", "0x10", "1_000", "100000000000000000000000", "=1+1"]
)
def test_what_is_not_an_amount_is_refused_and_never_guessed(tmp_path: Path, written: str) -> None:
    _, taken, refused = read(bill(tmp_path, ROW.replace("1.50", f'"{written}"')))

    assert taken.is_empty()
    assert f"'{written}' is not a decimal number" in refused["_refused"][0]


@pytest.mark.parametrize("missing", ["", "NULL", "null"])
def test_an_empty_cost_is_refused_and_not_taken_as_zero(tmp_path: Path, missing: str) -> None:
    _, taken, refused = read(bill(tmp_path, ROW.replace("1.50", missing)))

    assert taken.is_empty()
    assert refused["_refused"][0].startswith("BilledCost|is empty|")


@pytest.mark.parametrize(
    "written",
    ["2026-03-01T00:00:00Z", "2026-03-01 00:00:00", "2026-03-01", "2026-03-01T00:00:00.000Z", "3/1/26", "03/01/2026",
     "2026-03-01T01:00:00+01:00", "2026-03-01 00:00:00 UTC", "2026-03-01T00:00Z", "01.03.2026"],
)  # fmt: skip
def test_an_instant_is_read_in_the_forms_providers_write(tmp_path: Path, written: str) -> None:
    _, taken, refused = read(bill(tmp_path, ROW.replace("2026-03-01T00:00:00Z", written, 1)))

    assert refused.is_empty()
    assert taken["charge_period_start"].to_list() == [datetime(2026, 3, 1, tzinfo=UTC)]


def test_forms_of_dates_may_change_within_a_file(tmp_path: Path) -> None:
    rows = [ROW.replace("2026-03-01T00:00:00Z", form, 1) for form in ("2026-03-01T00:00:00Z", "2026-03-01", "3/1/2026")]

    _, taken, _ = read(bill(tmp_path, *rows))

    assert taken["charge_period_start"].to_list() == [datetime(2026, 3, 1, tzinfo=UTC)] * 3


@pytest.mark.parametrize("written", ["2026-02-30T00:00:00Z", "31/31/2026", "yesterday", "21-03-01"])
def test_what_is_not_a_date_is_refused(tmp_path: Path, written: str) -> None:
    _, _, refused = read(bill(tmp_path, ROW.replace("2026-03-01T00:00:00Z", written, 1)))

    assert f"'{written}' is not a date and time" in refused["_refused"][0]


def test_a_byte_order_mark_and_crlf_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{ROW}\r\n".encode())

    _, taken, _ = read(path)

    assert totals(taken) == {"EUR": Decimal("1.5")}


def test_mixed_encodings_are_read_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    latin = ROW.replace("Compute", "Café").encode("cp1252")
    path.write_bytes(f"{HEADER}\n{ROW.replace('Compute', 'Käse')}\n".encode() + latin + b"\n")

    parsed, taken, _ = read(path)

    assert taken["service_name"].to_list() == ["Käse", "Café"]
    assert any("Windows-1252" in note for note in parsed.notes)


def test_utf_16_is_read_by_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    path.write_bytes(f"{HEADER}\n{ROW}\n".encode("utf-16"))

    _, taken, _ = read(path)

    assert totals(taken) == {"EUR": Decimal("1.5")}


def test_a_large_file_in_another_encoding_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "TRANSCODE_BYTES_MAX", 50)
    path = tmp_path / "bill.csv"
    path.write_bytes(f"{HEADER}\n{ROW}\n".encode("utf-16"))

    with pytest.raises(TooLarge, match="save it as UTF-8"):
        FOCUS.parse(path, options={})


def test_a_formula_in_a_cell_stays_text(tmp_path: Path) -> None:
    _, taken, _ = read(bill(tmp_path, ROW.replace("Compute", '"=HYPERLINK(""http://x"")"')))

    assert taken["service_name"].to_list() == ['=HYPERLINK("http://x")']


def test_a_repeated_column_is_refused(tmp_path: Path) -> None:
    path = bill(tmp_path, ROW + ",2.50", header=HEADER + ",BilledCost")

    with pytest.raises(Invalid, match="names the column BilledCost more than once"):
        FOCUS.parse(path, options={})


def test_a_row_with_more_values_than_columns_is_refused(tmp_path: Path) -> None:
    _, taken, refused = read(bill(tmp_path, ROW, ROW.replace("Compute", "Compute,Store") + "{}"))

    assert len(taken) == 1
    assert "more values than the header" in refused["_refused"][0]


def test_a_file_cut_inside_its_last_row_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    path.write_text(f"{HEADER}\n{ROW}\n{ROW[:20]}", encoding="utf-8")

    with pytest.raises(Invalid, match="ends in the middle of its last row"):
        FOCUS.parse(path, options={})


def test_a_file_without_a_last_newline_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    path.write_text(f"{HEADER}\n{ROW}", encoding="utf-8")

    _, taken, _ = read(path)

    assert len(taken) == 1


def test_an_empty_file_and_one_without_the_columns_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_bytes(b"")
    other = bill(tmp_path, "1", header="BilledCost")

    with pytest.raises(Invalid, match="is empty"):
        FOCUS.parse(empty, options={})
    with pytest.raises(Invalid, match="no column ChargePeriodStart"):
        FOCUS.parse(other, options={})


def test_twenty_thousand_distinct_tags_are_kept(tmp_path: Path) -> None:
    tags = [f'"{{""key{index}"": ""value{index}""}}"' for index in range(20_000)]

    _, taken, _ = read(bill(tmp_path, *[ROW + tag for tag in tags]))

    assert taken["tags"].n_unique() == 20_000
    assert taken["tags"][19_999] == '{"key19999": "value19999"}'


def test_decimal_commas_belong_to_files_delimited_by_semicolons(tmp_path: Path) -> None:
    row = ROW.replace(",", ";").replace("1.50", "1.234,56")

    _, taken, _ = read(bill(tmp_path, row, header=HEADER.replace(",", ";")))

    assert totals(taken) == {"EUR": Decimal("1234.56")}


def test_without_a_currency_column_a_default_is_taken_and_said(tmp_path: Path) -> None:
    header, row = HEADER.replace("BillingCurrency,", ""), ROW.replace("EUR,", "")

    parsed, taken, _ = read(bill(tmp_path, row, header=header))
    given, told, _ = read(bill(tmp_path, row, header=header), currency="chf")

    assert (parsed.currency_hint, taken["currency"].to_list()) == ("USD", ["USD"])
    assert (given.currency_hint, told["currency"].to_list()) == ("CHF", ["CHF"])


def test_an_empty_currency_is_refused(tmp_path: Path) -> None:
    _, _, refused = read(bill(tmp_path, ROW.replace("EUR", "")))

    assert refused["_refused"][0].startswith("BillingCurrency|is empty|")


@pytest.mark.parametrize(
    ("columns", "version"),
    [
        ("ContractedCost", "1.0"),
        ("ContractedCost,SkuMeter", "1.1"),
        ("ContractedCost,SkuMeter,InvoiceId", "1.2"),
        ("ContractedCost,SkuMeter,InvoiceId,ServiceProviderName", "1.3"),
        ("ChargeSubcategory", "1.0-preview"),
    ],
)
def test_the_version_is_told_by_the_columns(tmp_path: Path, columns: str, version: str) -> None:
    header = f"{HEADER},{columns}"

    parsed, _, _ = read(bill(tmp_path, ROW + "," * len(columns.split(",")), header=header))

    assert f"Read as FOCUS {version}." in parsed.notes


def test_newer_names_of_the_provider_come_first(tmp_path: Path) -> None:
    path = bill(tmp_path, ROW + ",Google Cloud", header=HEADER + ",ServiceProviderName")

    _, taken, _ = read(path)

    assert taken["provider"].to_list() == ["gcp"]


def test_instance_types_are_found_in_price_details_and_meters(tmp_path: Path) -> None:
    header = HEADER + ",SkuPriceDetails,x_UsageType"
    rows = [ROW + ',"{""InstanceType"": ""m5.large""}",', ROW + ",,EU-BoxUsage:c6g.xlarge", ROW + ",,EUC1-DataTransfer"]

    _, taken, _ = read(bill(tmp_path, *rows, header=header))

    assert taken["instance_type"].to_list() == ["m5.large", "c6g.xlarge", None]


def test_parquet_reads_as_its_csv_does(tmp_path: Path) -> None:
    """AWS writes FOCUS costs as doubles and instants as timestamps, tags as a map."""
    path = tmp_path / "focus.parquet"
    instant = datetime(2026, 3, 1, tzinfo=UTC)
    pl.DataFrame(
        {
            "BilledCost": [0.1, 1e-15, 123.456],
            "EffectiveCost": [Decimal("0.10"), None, Decimal(-3)],
            "BillingCurrency": ["EUR"] * 3,
            "ChargePeriodStart": [instant] * 3,
            "BillingPeriodStart": [instant.replace(tzinfo=None)] * 3,
            "ChargeCategory": ["Usage"] * 3,
            "ProviderName": ["AWS"] * 3,
            "Tags": [[{"key": "team", "value": 'a"b'}], [], None],
        },
        schema_overrides={"Tags": pl.List(pl.Struct({"key": pl.String, "value": pl.String}))},
    ).write_parquet(path)

    _, taken, refused = read(path)

    assert refused.is_empty()
    assert taken["billed_cost"].to_list() == [Decimal("0.1"), Decimal("1e-15"), Decimal("123.456")]
    assert taken["billing_period_start"].to_list() == [date(2026, 3, 1)] * 3
    assert taken["charge_period_start"].to_list() == [instant] * 3
    assert taken["tags"].to_list() == ['{"team":"a\\"b"}', "{}", None]
    assert taken["row"].to_list() == [1, 2, 3]


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "focus.parquet"
    path.write_bytes(b"PAR1" + b"\x00" * 100)

    with pytest.raises(Invalid, match="cannot be read"):
        FOCUS.parse(path, options={})


def test_the_name_of_a_file_decides_nothing(tmp_path: Path) -> None:
    path = bill(tmp_path, ROW).rename(tmp_path / "aws_cur_holiday_photos.jpg")

    assert format_of(path).name == "focus"
