"""The HTML report: self-contained, without script, harmless to foreign text, readable by everybody."""

import re
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from bursar.core.findings.rules import Kept
from bursar.core.intake.rules import Balance, Batch, BatchState
from bursar.infra.traces import Tracer
from bursar.kernel.errors import Problem
from bursar.kernel.finding import Evidence, Finding, FindingState, Part, PriceUsed, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.reports.charts import ChartData, line_svg, thinned
from bursar.reports.html import CARDS_PRINTED, ROWS_PRINTED, exact, money, render, visible
from bursar.reports.review import Review, made

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
TRACER = Tracer(b"k" * 32, uuid4())
NASTY = '<script>alert("x")</script> =1+1 \u202e gnp.exe'


def kept(number: int, *, sure: float = 0.9, title: str = "Idle disk", chart: bool = True) -> Kept:
    days = [f"2026-{month:02d}-{day:02d}" for month in (8, 9, 10) for day in range(1, 29)]
    finding = Finding(
        kind="cloud.idle",
        subject=f"disk-{number}",
        period=Period.month(date(2026, 10, 1)),
        title=title,
        worth=Money(123_456, "EUR"),
        low=Money(100_000, "EUR"),
        high=Money(150_000, "EUR"),
        confidence=sure,
        action="Delete it.",
        evidence=Evidence(
            formula="102.88 a month x 12",
            parts=(Part("disk", Decimal("1234.56")),),
            prices=(PriceUsed("sku", Decimal("0.08"), "EUR", "GB-month", date(2026, 10, 1), "bill"),),
            rows=(SourceRow("b", NASTY, 7, NASTY, Decimal("1.5"), "EUR"),),
            rows_total=12,
            chart={"x": list(days), "y": [str(index % 7) for index in range(len(days))]} if chart else {},
        ),
        due=date(2026, 12, 1),
    )
    return Kept(uuid4(), number, finding, FindingState.NEW, finding.worth, NOW, NOW)


def batch(name: str, *, state: BatchState = BatchState.IMPORTED) -> Batch:
    return Batch(
        id=uuid4(),
        document=uuid4(),
        file=name,
        format="" if state is BatchState.REFUSED else "camt",
        title="not understood" if state is BatchState.REFUSED else "CAMT",
        dataset="bank",
        kind="bank",
        state=state,
        certainty=1,
        rows_read=3,
        rows_taken=2,
        rows_known=0,
        rows_refused=1,
        rows_replaced=0,
        start=date(2026, 10, 1),
        end=date(2026, 10, 31),
        totals={"EUR": Decimal("12.50")},
        balances=(
            Balance("DE1", "EUR", Decimal(1), Decimal(2), Decimal(1), 2),
            Balance("DE2", "EUR", Decimal(1), Decimal(2), Decimal(5), 2),
        ),
        notes=(),
        imported_at=NOW,
        problems=(Problem("The content is of no format.", "Export it again.", name),),
    )


def review() -> Review:
    return made(
        [batch("a.xml"), batch("b.bin", state=BatchState.REFUSED)],
        [kept(1), kept(2, sure=0.4), kept(3, title=NASTY, chart=False)],
        seconds=1.5,
        tracer=TRACER,
    )


def test_report_is_one_file_without_script_or_address() -> None:
    html = render(review(), made_at=NOW, organisation="Halden & Marsh", sample=True)

    assert "<script" not in html
    assert not re.search(r'(src|href)="(https?:)?//', html)
    assert html.count("<article") == 3
    assert "Sample data" in html
    assert "Halden &amp; Marsh" in html


def test_report_shows_foreign_text_harmlessly() -> None:
    html = render(review(), made_at=NOW, organisation="x")

    assert "\u202e" not in html
    assert "&lt;script&gt;" in html


def test_report_of_nothing_says_so() -> None:
    html = render(made([], [], seconds=0, tracer=TRACER), made_at=NOW, organisation="x")

    assert "Nothing worth acting on was found" in html


def test_paper_shows_the_first_findings_whole_and_says_what_it_leaves_out() -> None:
    html = render(made([], [kept(at) for at in range(1, 13)], seconds=0, tracer=TRACER), made_at=NOW, organisation="x")

    assert html.count('class="brief"') == 12 - CARDS_PRINTED
    assert f"On paper the first {CARDS_PRINTED} findings" in html
    assert f"tr:nth-child(n+{ROWS_PRINTED + 1})" in html


def test_exact_amounts_lose_no_digit() -> None:
    assert [exact(Decimal(text)) for text in ("0.000000000000001", "1234567.5", "12.500000")] == [
        "0.000000000000001",
        "1,234,567.50",
        "12.50",
    ]


def test_every_chart_has_a_table_behind_it() -> None:
    html = render(review(), made_at=NOW, organisation="x")

    assert html.count("<svg") == html.count("Table behind the chart") == 2


def test_charts_carry_no_script_and_name_what_they_show() -> None:
    svg = line_svg(ChartData("Cost", ["2026-01-01", "2026-01-02"], [1.0, 2.0], "EUR"))

    assert 'role="img"' in svg
    assert "Cost: 2026-01-01 to 2026-01-02, EUR" in svg
    assert "script" not in svg
    assert line_svg(ChartData("Cost", [], [], "EUR")) == ""


def test_what_was_expected_and_its_range_are_drawn_beside_what_was() -> None:
    days = [f"2026-01-{day:02}" for day in range(1, 7)]
    expected = [None, None, 5.0, 5.0, 5.0, 5.0]
    beside = {"expected": expected, "95 % range from": [None, None, *[-40.0] * 4], "95 % range to": expected}

    svg = line_svg(ChartData("Cost", days, [5.0, 5.0, 5.0, 50.0, 50.0, 50.0], "EUR", beside))

    assert [f"serie-{at}" in svg for at in range(5)] == [True] * 4 + [False]
    assert ">-" in svg  # the axis reaches what is drawn beside
    assert "with expected and 95 % range from" in svg
    assert {
        len(line)
        for line in thinned(ChartData("x", days * 200, [1.0] * 1200, "EUR", {"a": [None] * 1200})).beside.values()
    } == {400}


def test_long_lines_are_thinned_with_first_and_last_kept() -> None:
    data = ChartData("x", [str(n) for n in range(5000)], [float(n) for n in range(5000)], "EUR")

    thin = thinned(data)

    assert len(thin.labels) <= 400
    assert (thin.labels[0], thin.labels[-1]) == ("0", "4999")


def test_figures_are_written_for_people() -> None:
    assert (money(Decimal("12345.678")), money(Decimal("12.3"))) == ("12,346", "12.30")
    assert (exact(Decimal("1.5")), exact(Decimal("0.123456789012"))) == ("1.50", "0.123456789012")
    assert visible("a\u202eb\x07") == "a·b·"


def test_reviews_count_sure_findings_only() -> None:
    made_review = review()

    assert [one.name for one in made_review.findings] == ["F1", "F3"]
    assert made_review.worth == {"EUR": Money(246_912, "EUR")}
    assert (made_review.rows_read, len(made_review.refused)) == (6, 2)
    assert replace(made_review, batches=()).rows_read == 0


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(tmp_path: Path, scheme: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Debian's chromium is not installed; .ci/run installs it")
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    page_file = tmp_path / "report.html"
    page_file.write_text(render(review(), made_at=NOW, organisation="x", sample=True), encoding="utf-8")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(color_scheme="dark" if scheme == "dark" else "light")
        page.goto(page_file.as_uri())
        found = Axe().run(page)
        browser.close()

    assert found.violations_count == 0, found.generate_report()
