"""The judge of the sample: what counts as found, missed and a false alarm."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from bursar.kernel.finding import Evidence, Finding, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.reports.sample import Planted, Truth
from bursar.reports.sample.model import Place
from bursar.reports.sample.score import KINDS, score

DAY = date(2026, 5, 12)
PLANTED = Planted(
    id="C07",
    kind="idle_address",
    subjects=("eipalloc-0123",),
    start=DAY,
    end=DAY + timedelta(days=90),
    worth=Decimal("43.80"),
    currency="USD",
    recurring=True,
    what="An address.",
    where=(Place("cloud/aws/a.csv.gz", (7, 9), 2),),
)
TRUTH = Truth(company="x", seed=1, start=DAY, end=DAY, files=(), planted=(PLANTED,))


def finding(kind: str, subject: str, *, start: date = DAY, rows: tuple[SourceRow, ...] = ()) -> Finding:
    money = Money(100, "USD")
    evidence = Evidence(formula="", rows=rows, rows_total=len(rows))
    period = Period(start, start + timedelta(days=1))
    return Finding(kind, subject, period, "Something", money, money, money, 0.9, "Act.", evidence)


def test_a_finding_about_the_subject_counts() -> None:
    result = score(TRUTH, [finding("cloud.idle_address", "arn:elastic-ip/eipalloc-0123")])

    assert [planted.id for planted, _ in result.found] == ["C07"]
    assert not result.missed
    assert not result.false


def test_a_finding_resting_on_the_rows_counts() -> None:
    rows = (SourceRow("batch", "/home/a.csv.gz", 9),)

    assert score(TRUTH, [finding("cloud.unused_thing", "other", rows=rows)]).found


@pytest.mark.parametrize(
    "wrong",
    [
        finding("cloud.idle_address", "eipalloc-9999"),
        finding("cloud.storage_class", "eipalloc-0123"),
        finding("cloud.idle_address", "eipalloc-0123", start=DAY - timedelta(days=60)),
        finding("cloud.idle_address", "other", rows=(SourceRow("batch", "a.csv.gz", 8),)),
    ],
)
def test_another_subject_kind_time_or_row_does_not_count(wrong: Finding) -> None:
    result = score(TRUTH, [wrong])

    assert result.missed == (PLANTED,)


def test_what_nothing_explains_is_a_false_alarm_on_the_first_screen_only() -> None:
    true = finding("cloud.idle_address", "eipalloc-0123")
    false = finding("cloud.idle_address", "somebody else")

    assert score(TRUTH, [false, true]).false == (false,)
    assert score(TRUTH, [true] * 20 + [false]).false == ()


def test_what_is_known_to_be_true_is_no_false_alarm() -> None:
    known = replace(PLANTED, id="K01", kind="started", subjects=("somebody else",))
    truth = replace(TRUTH, known=(known,))

    assert score(truth, [finding("planning.anomaly", "somebody else")]).false == ()


def test_every_planted_kind_has_an_answer(tmp_path_factory: pytest.TempPathFactory) -> None:
    from bursar.reports.sample import write_sample

    truth = write_sample(tmp_path_factory.mktemp("kinds"))

    assert {planted.kind for planted in truth.planted} == set(KINDS)
