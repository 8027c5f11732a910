"""Prices: unknown is never 0, what changed keeps its history, what vanished keeps its last value and day."""

import io
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar.infra.metrics import CACHE, METRICS
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed, NotFound, TooLarge, Unavailable
from bursar.kernel.prices import PRICE_COLUMNS
from bursar.parts.cloud.prices import rules, store
from bursar.parts.cloud.prices.rules import KEY, Shape, Wanted, checked, merge
from bursar.parts.cloud.prices.service import COMPARED_MAX, PriceList, must_find

ACTOR = Actor(UUID(int=1), "person:1", frozenset({"price:read", "price:write", "cloud:refresh"}))
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def row(sku: str = "A", price: str = "1", **facts: object) -> dict[str, object]:
    usual: dict[str, object] = dict.fromkeys(PRICE_COLUMNS)
    usual |= {
        "provider": "aws",
        "service": "AmazonEC2",
        "sku": sku,
        "region": "eu-central-1",
        "unit": "Hrs",
        "term": "on_demand",
        "currency": "USD",
        "tier_start": Decimal(0),
        "price": Decimal(price),
        "seen_on": date(2026, 1, 1),
        "source": "aws-price-list",
    }
    return usual | facts


def table(*rows: dict[str, object]) -> pl.DataFrame:
    return checked(pl.DataFrame(list(rows), schema=dict(PRICE_COLUMNS), strict=False))


def prices(folder: Path, *rows: dict[str, object]) -> PriceList:
    made = PriceList(folder, default=lambda: table(row("default")), clock=Clock())
    if rows:
        made.take(table(*rows), day=date(2026, 1, 1))
    return made


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_unknown_price_is_none_and_never_zero(tmp_path: Path) -> None:
    known = prices(tmp_path, row("A", "0.096"))

    assert known.price(Wanted("aws", "eu-central-1", sku="B"), on=date(2026, 1, 1)) is None
    assert known.price(Wanted("aws", "us-east-1", sku="A"), on=date(2026, 1, 1)) is None
    assert known.price(Wanted("aws", "eu-central-1", sku="A", currency="EUR"), on=date(2026, 1, 1)) is None
    with pytest.raises(NotFound, match="B in aws"):
        must_find(None, Wanted("aws", "eu-central-1", sku="B"))


def test_the_price_is_that_of_the_day_of_usage(tmp_path: Path) -> None:
    known = prices(tmp_path, row("A", "1", valid_from=date(2026, 1, 1)))
    known.take(table(row("A", "2", seen_on=date(2026, 3, 1), valid_from=date(2026, 3, 1))), day=date(2026, 3, 1))
    wanted = Wanted("aws", "eu-central-1", sku="A")

    found = {day: must_find(known.price(wanted, on=day), wanted) for day in (date(2026, 2, 28), date(2026, 3, 1))}
    before = must_find(known.price(wanted, on=date(2025, 12, 1)), wanted)

    assert [(price.amount, price.exact) for price in found.values()] == [(Decimal(1), False), (Decimal(2), True)]
    assert (before.amount, before.exact, before.day) == (Decimal(1), False, date(2026, 1, 1))


def test_a_vanished_price_keeps_its_last_value_with_its_day(tmp_path: Path) -> None:
    known = prices(tmp_path, row("A", "1"), row("B", "5"))
    known.take(table(row("A", "1", seen_on=date(2026, 4, 1))), day=date(2026, 4, 1))
    gone = known.price(Wanted("aws", "eu-central-1", sku="B"), on=date(2026, 4, 2))
    there = known.price(Wanted("aws", "eu-central-1", sku="A"), on=date(2026, 4, 1))

    assert gone is not None
    assert (gone.amount, gone.vanished, gone.seen_on, gone.day) == (
        Decimal(5),
        True,
        date(2026, 1, 1),
        date(2026, 1, 1),
    )
    assert there is not None
    assert (there.vanished, there.exact) == (False, True)


def test_tiers_are_chosen_by_quantity(tmp_path: Path) -> None:
    known = prices(tmp_path, row("A", "0"), row("A", "3", tier_start=Decimal(100)))

    free = known.price(Wanted("aws", "eu-central-1", sku="A", tier=Decimal(99)), on=date(2026, 1, 1))
    paid = known.price(Wanted("aws", "eu-central-1", sku="A", tier=Decimal(100)), on=date(2026, 1, 1))

    assert free is not None
    assert paid is not None
    assert (free.amount, paid.amount) == (Decimal(0), Decimal(3))


def test_another_service_of_the_region_is_left_alone(tmp_path: Path) -> None:
    known = prices(tmp_path, row("A"), row("S", service="AmazonS3"))
    known.take(table(row("A", "2", seen_on=date(2026, 5, 1))), day=date(2026, 5, 1))

    other = known.price(Wanted("aws", "eu-central-1", sku="S"), on=date(2026, 1, 1))

    assert other is not None
    assert not other.vanished


readings = st.lists(st.dictionaries(st.sampled_from("ABCD"), st.integers(1, 3), min_size=1), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(readings)
def test_merging_readings_keeps_every_price_of_every_day(history: list[dict[str, int]]) -> None:
    start, known = date(2026, 1, 1), rules.empty()
    for number, reading in enumerate(history):
        day = start + timedelta(days=number)
        rows = [row(sku, str(price), seen_on=day) for sku, price in reading.items()]
        known = merge(known, table(*rows), day=day)
    book = store.Book(known)

    open_ = known.filter(pl.col("valid_to").is_null())
    assert open_.select(KEY).is_unique().all()
    last: dict[str, int] = {}
    for number, reading in enumerate(history):
        last |= reading
        for sku, price in last.items():
            found = book.find(Wanted("aws", "eu-central-1", sku=sku), start + timedelta(days=number))
            assert found is not None
            assert found.amount == price


def test_merging_the_same_reading_again_changes_nothing() -> None:
    once = merge(rules.empty(), table(row("A"), row("B", "2")), day=date(2026, 1, 1))

    assert merge(once, table(row("A"), row("B", "2")), day=date(2026, 1, 1)).equals(once)


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (pl.DataFrame({"provider": ["aws"]}), "lacks the columns"),
        (pl.DataFrame([row(price="-1")], schema=dict(PRICE_COLUMNS), strict=False), "negative"),
        (pl.DataFrame([row() | {"sku": None}], schema=dict(PRICE_COLUMNS), strict=False), "empty values in sku"),
    ],
)
def test_a_broken_table_is_refused(broken: pl.DataFrame, what: str) -> None:
    with pytest.raises(Invalid, match=what):
        checked(broken)


def test_a_table_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PRICES_MAX", 1)

    with pytest.raises(Invalid, match="over 1 rows"):
        table(row("A"), row("B"))


@pytest.mark.parametrize(("sku", "machine"), [("", ""), ("A", "m5.large")])
def test_a_question_names_a_sku_or_a_machine(sku: str, machine: str) -> None:
    with pytest.raises(Invalid):
        Wanted("aws", "eu-central-1", sku=sku, instance_type=machine)


MACHINE = {"instance_type": "m5.large", "os": "linux", "arch": "x86_64", "vcpu": 2.0, "memory_gib": 8.0}


def test_the_same_shape_is_compared_across_providers_cheapest_first(tmp_path: Path) -> None:
    known = prices(
        tmp_path,
        row("A", "0.10", **MACHINE),
        row("B", "0.08", **(MACHINE | {"instance_type": "m6g.large", "arch": "arm64"})),
        row("C", "0.09", provider="gcp", region="europe-west1", **(MACHINE | {"instance_type": "n2-standard-2"})),
        row("D", "0.01", **(MACHINE | {"vcpu": 1.0})),
        row("E", "0.001", **(MACHINE | {"vcpu": 96.0})),
        row("F", "0.02", term="spot", **MACHINE),
        row("G", "0", **MACHINE),
    )
    day = date(2026, 1, 1)

    every = known.compare(Shape(2, 8), on=day)
    arm = known.compare(Shape(2, 8, arch="arm64"), on=day)
    google = known.compare(Shape(2, 8), on=day, providers=["gcp"])

    assert every["sku"].to_list() == ["B", "C", "A"]
    assert arm["sku"].to_list() == ["B"]
    assert google["sku"].to_list() == ["C"]
    with pytest.raises(Invalid):
        known.compare(Shape(2, 8), on=day, most=COMPARED_MAX + 1)
    with pytest.raises(Invalid):
        Shape(0, 1)


def test_a_replaced_table_is_seen_and_answers_are_cached(tmp_path: Path) -> None:
    clock = Clock()
    known = PriceList(tmp_path, default=lambda: table(row("A", "1")), clock=clock)
    wanted, day = Wanted("aws", "eu-central-1", sku="A"), date(2026, 1, 1)
    hits_before = _hits()
    answers = [known.price(wanted, on=day) for _ in range(10)]
    other = PriceList(tmp_path, default=lambda: table(row("A", "1")), clock=clock)
    other.take(table(row("A", "7", seen_on=date(2026, 1, 2))), day=date(2026, 1, 2))
    clock.now += 60

    fresh = known.price(wanted, on=date(2026, 1, 2))

    assert {answer.amount for answer in answers if answer} == {Decimal(1)}
    assert _hits() - hits_before == 9
    assert fresh is not None
    assert fresh.amount == 7


def test_threads_may_look_while_tables_are_replaced(tmp_path: Path) -> None:
    clock = Clock()
    known = PriceList(tmp_path, default=lambda: table(row("A", "1", instance_type="m", os="linux")), clock=clock)
    day = date(2026, 1, 1)

    def look(turn: int) -> tuple[Decimal | None, int]:
        if turn % 10 == 0:
            known.take(table(row("A", "1", instance_type="m", os="linux")), day=day)
        clock.now += 10
        found = known.price(Wanted("aws", "eu-central-1", sku="A"), on=day)
        return found.amount if found else None, known.machines(on=day, providers=["aws"]).height

    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(look, range(200)))

    assert seen == {(Decimal(1), 1)}


def test_a_machine_s_id_is_that_of_its_price(tmp_path: Path) -> None:
    facts: dict[str, object] = {"instance_type": "m", "os": "linux", "valid_from": date(2025, 7, 1)}
    known = prices(tmp_path, row("A", "1", **facts), row("B", "2", instance_type="m", os="windows"))

    table_ = known.machines(on=date(2026, 1, 1), providers=["aws"])

    for one in table_.iter_rows(named=True):
        found = known.price(Wanted("aws", "eu-central-1", instance_type="m", os=one["os"]), on=date(2026, 1, 1))
        assert found is not None
        assert (found.id, found.amount) == (one["id"], one["price"])
    assert table_.height == 2


def _hits() -> int:
    tally = METRICS.read(CACHE).get(("prices",))
    return tally.count - tally.failures if tally else 0


class Listing:
    """A catalogue of a test: one frame, or a refusal, per region."""

    name = "aws"

    def __init__(self, **answers: pl.DataFrame | Exception | None) -> None:
        self.answers = answers

    @property
    def regions(self) -> Sequence[str]:
        return list(self.answers)

    async def read(self, region: str, *, day: date) -> pl.DataFrame | None:
        answer = self.answers[region]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_failed_refresh_keeps_what_is_known_and_says_so(tmp_path: Path) -> None:
    known = prices(tmp_path, row("A", "1"))
    await known.refresh(ACTOR, Listing(one=table(row("A", "1", seen_on=date(2026, 5, 31)))), now=NOW)

    with pytest.raises(Unavailable):
        await known.refresh(ACTOR, Listing(one=Unavailable("AWS")), now=NOW + timedelta(days=1))

    found = known.price(Wanted("aws", "eu-central-1", sku="A"), on=date(2026, 6, 2))
    status = next(item for item in known.providers(ACTOR, today=date(2026, 6, 10)) if item.name == "aws")
    assert found is not None
    assert found.amount == 1
    assert status.succeeded_at == NOW.isoformat()
    assert "AWS does not answer" in status.error
    assert (status.seen_on, status.age_days, status.fallback) == (NOW.date(), 9, False)


async def test_an_unchanged_catalogue_changes_nothing(tmp_path: Path) -> None:
    known = prices(tmp_path, row("A", "1"))

    assert await known.refresh(ACTOR, Listing(one=None), now=NOW) == 0


async def test_refreshing_needs_the_right(tmp_path: Path) -> None:
    nobody = Actor(UUID(int=1), "person:2", frozenset())
    known = prices(tmp_path)

    with pytest.raises(NotAllowed):
        await known.refresh(nobody, Listing(), now=NOW)
    with pytest.raises(NotAllowed):
        known.pack(nobody, tmp_path / "x")
    with pytest.raises(NotAllowed):
        known.load(nobody, tmp_path / "x", now=NOW)
    with pytest.raises(NotAllowed):
        known.providers(nobody, today=NOW.date())


def test_a_pack_carries_every_price_to_a_closed_site(tmp_path: Path) -> None:
    here = prices(tmp_path / "here", row("A", "1"), row("B", "2", region="us-east-1"))
    there = prices(tmp_path / "there")

    packed = here.pack(ACTOR, tmp_path / "prices.pack")
    loaded = there.load(ACTOR, tmp_path / "prices.pack", now=NOW)

    assert packed == loaded == 2
    assert there.tables.all().sort("sku").equals(here.tables.all().sort("sku"))


def test_an_older_pack_does_not_replace_newer_prices(tmp_path: Path) -> None:
    old = prices(tmp_path / "old", row("A", "1"))
    old.pack(ACTOR, tmp_path / "old.pack")
    here = prices(tmp_path / "here", row("A", "2", seen_on=date(2026, 5, 1)))

    here.load(ACTOR, tmp_path / "old.pack", now=NOW)

    found = here.price(Wanted("aws", "eu-central-1", sku="A"), on=date(2026, 5, 1))
    assert found is not None
    assert found.amount == 2


def archive(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as made:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_parquet", ".parquet"))
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return path


def parquet(*rows: dict[str, object]) -> bytes:
    data = io.BytesIO()
    table(*rows).write_parquet(data)
    return data.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"aws__x_parquet": b"no parquet"},
        {"..__..__x_parquet": parquet(row())},
        {"aws__us-east-1_parquet": parquet(row())},
        {"aws__eu-central-1_parquet": parquet(row()), "evil__..__x_parquet": b""},
    ],
)
def test_a_broken_pack_changes_nothing(tmp_path: Path, members: dict[str, bytes]) -> None:
    known = prices(tmp_path / "here", row("A", "1"))
    before = known.tables.all()

    with pytest.raises(Invalid):
        known.load(ACTOR, archive(tmp_path / "a.pack", **members), now=NOW)

    assert known.tables.all().equals(before)


def test_a_pack_over_the_limits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = prices(tmp_path / "here", row("A", "1"), row("B", region="us-east-1"))
    known.pack(ACTOR, tmp_path / "a.pack")
    monkeypatch.setattr(store, "PACK_MEMBERS_MAX", 1)

    with pytest.raises(TooLarge):
        known.load(ACTOR, tmp_path / "a.pack", now=NOW)
    monkeypatch.setattr(store, "PACK_BYTES_MAX", 10)
    with pytest.raises(TooLarge):
        known.load(ACTOR, tmp_path / "a.pack", now=NOW)


@pytest.mark.parametrize("region", ["../x", "a/b", "", "x" * 100])
def test_a_name_that_is_no_region_is_refused(tmp_path: Path, region: str) -> None:
    with pytest.raises(Invalid):
        store.Prices(tmp_path).read("aws", region)
