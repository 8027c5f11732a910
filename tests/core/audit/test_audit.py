"""The audit trail: recorded with the change, sealed each second, and every way of tampering is found and named."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from bursar.core.audit import jobs, rules, service
from bursar.core.identity.tables import organisation
from bursar.infra.anchors import Anchors
from bursar.infra.crypto import Keyring
from bursar.infra.db import Database, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotAllowed, TooLarge, Unavailable
from bursar.kernel.money import Money

NOW = datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC)
KEYRING = Keyring(["k" * 32])


@dataclass
class Trail:
    """An organisation with a sealed trail, and the superuser's hand for tampering with it."""

    db: Database
    actor: Actor
    anchors: Anchors
    url: str
    keyring: Keyring = KEYRING

    async def add(self, count: int, *, first: int = 0) -> list[UUID]:
        made = []
        for number in range(first, first + count):
            async with self.db.writing(self.actor) as tx:
                made.append(
                    await service.record(
                        tx, self.actor, action="thing.changed", subject=f"thing:{number}", after={"n": number}, now=NOW
                    )
                )
        return made

    async def seal(self, *, anchored: bool = True) -> None:
        await service.seal(self.db, keyring=self.keyring, now=NOW, anchors=self.anchors if anchored else None)

    async def verify(self) -> service.Verdict:
        return await service.verify(self.db, self.actor, keyring=self.keyring, anchors=self.anchors)

    def tamper(self, *statements: str) -> None:
        """Run statements past every trigger and policy, as somebody who owns the machine could."""
        with psycopg.connect(self.url) as connection:
            connection.execute("set session_replication_role = replica")
            for statement in statements:
                connection.execute(statement.encode())


@pytest.fixture
async def trail(db: Database, database: str, postgres: object, tmp_path: Path, actor: Actor) -> Trail:
    async with db.writing(actor) as tx:
        values = {"id": actor.org, "name": "Test", "created_at": NOW, "changed_at": NOW, "is_local": False}
        await tx.run(organisation.insert().values(values))
    socket = postgres.place.socket  # type: ignore[attr-defined]
    return Trail(db, actor, Anchors(tmp_path / "audit"), f"postgresql:///{database}?host={socket}&user=bursar_admin")


async def test_an_untouched_trail_is_proved(trail: Trail) -> None:
    await trail.add(5)
    await trail.seal()
    await trail.add(3, first=5)
    await trail.seal()
    await trail.add(1, first=8)

    verdict = await trail.verify()
    assert (verdict.rows, verdict.blocks, verdict.unsealed, verdict.broken) == (8, 2, 1, None)
    assert verdict.anchored == 1


async def test_sealing_nothing_makes_nothing(trail: Trail) -> None:
    await trail.add(2)
    await trail.seal()
    await trail.seal()

    assert (await trail.verify()).blocks == 1


async def test_an_entry_that_is_rolled_back_with_its_change_leaves_nothing(trail: Trail) -> None:
    async def change() -> None:
        async with trail.db.writing(trail.actor) as tx:
            await service.record(tx, trail.actor, action="a.b", subject="c", now=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change()
    await trail.seal()

    assert (await trail.verify()).rows == 0


async def test_an_entry_of_a_transaction_that_ends_late_is_sealed_later_not_lost(trail: Trail) -> None:
    async with trail.db.writing(trail.actor) as slow:
        await service.record(slow, trail.actor, action="slow.change", subject="s", now=NOW)
        await trail.add(3)
        await trail.seal()
        assert (await trail.verify()).rows == 0  # the horizon stands at the slow transaction
    await trail.seal()

    verdict = await trail.verify()
    assert (verdict.rows, verdict.unsealed, verdict.broken) == (4, 0, None)


async def test_concurrent_writers_and_sealers_lose_and_double_nothing(trail: Trail) -> None:
    async def write(worker: int) -> None:
        await trail.add(15, first=worker * 100)

    async def keep_sealing() -> None:
        for _ in range(10):
            await trail.seal(anchored=False)
            await asyncio.sleep(0.01)

    await asyncio.gather(write(1), write(2), keep_sealing(), keep_sealing())
    await trail.seal()

    verdict = await trail.verify()
    assert (verdict.rows, verdict.unsealed, verdict.broken) == (30, 0, None)


async def _entry_edited(trail: Trail, ids: list[UUID]) -> None:
    trail.tamper(f"update audit_entry set after = '{{\"n\": 7000}}' where id = '{ids[3]}'")


async def _instant_edited_by_one_microsecond(trail: Trail, ids: list[UUID]) -> None:
    trail.tamper(f"update audit_entry set at = at + interval '1 microsecond' where id = '{ids[3]}'")


async def _actor_edited(trail: Trail, ids: list[UUID]) -> None:
    trail.tamper(f"update audit_entry set actor = 'person:somebody-else' where id = '{ids[3]}'")


async def _null_made_of_json_null(trail: Trail, ids: list[UUID]) -> None:
    trail.tamper(f"update audit_entry set before = 'null' where id = '{ids[3]}'")


async def _entry_deleted(trail: Trail, ids: list[UUID]) -> None:
    trail.tamper(f"delete from audit_entry where id = '{ids[3]}'")


async def _last_entry_of_a_block_deleted(trail: Trail, ids: list[UUID]) -> None:
    trail.tamper(f"delete from audit_entry where id = '{ids[9]}'")


async def _entry_inserted(trail: Trail, ids: list[UUID]) -> None:
    trail.tamper(
        "insert into audit_entry (org, id, at, actor, request_id, action, subject, cluster, xid)"
        f" select org, gen_random_uuid(), at, actor, 'forged', action, subject, cluster, xid"
        f" from audit_entry where id = '{ids[3]}'"
    )


async def _entries_swapped(trail: Trail, ids: list[UUID]) -> None:
    one, two = ids[3], ids[4]
    trail.tamper(
        f"update audit_entry a set xid = b.xid from audit_entry b"
        f" where (a.id, b.id) in (('{one}', '{two}'), ('{two}', '{one}'))"
    )


async def _entry_moved_to_another_organisation(trail: Trail, ids: list[UUID]) -> None:
    trail.tamper(f"update audit_entry set org = gen_random_uuid() where id = '{ids[3]}'")


TAMPERINGS: list[tuple[Callable[[Trail, list[UUID]], Awaitable[None]], str, int | None]] = [
    (_entry_edited, "edited", 3),
    (_instant_edited_by_one_microsecond, "edited", 3),
    (_actor_edited, "edited", 3),
    (_null_made_of_json_null, "edited", 3),
    (_entry_deleted, "deleted", 3),
    (_last_entry_of_a_block_deleted, "deleted", 9),
    (_entry_inserted, "inserted", None),
    (_entries_swapped, "reordered", 4),
    (_entry_moved_to_another_organisation, "deleted", 3),
]


@pytest.mark.parametrize(("tampering", "kind", "at"), TAMPERINGS, ids=lambda each: getattr(each, "__name__", None))
async def test_a_touched_row_is_named(
    trail: Trail, tampering: Callable[[Trail, list[UUID]], Awaitable[None]], kind: str, at: int | None
) -> None:
    ids = await trail.add(10)
    await trail.seal()
    await trail.add(5, first=10)
    await trail.seal()
    await tampering(trail, ids)

    broken = (await trail.verify()).broken

    assert broken is not None
    assert (broken.kind, broken.block) == (kind, 1)
    assert broken.entry is not None
    assert broken.entry not in ids if at is None else broken.entry == ids[at]


async def test_the_first_of_several_is_named(trail: Trail) -> None:
    ids = await trail.add(10)
    await trail.seal()
    trail.tamper(f"delete from audit_entry where id in ('{ids[6]}', '{ids[2]}')")

    broken = (await trail.verify()).broken
    assert broken is not None
    assert broken.entry == ids[2]


@pytest.mark.parametrize(
    ("statement", "kind", "block"),
    [
        ("update audit_block set rows = rows + 1 where number = 2", "altered", 2),
        ("update audit_block set content_hash = sha256('x') where number = 2", "altered", 2),
        ("update audit_block set leaves = leaves || leaves where number = 2", "altered", 2),
        ("update audit_block set sealed_at = sealed_at - interval '1 day' where number = 2", "altered", 2),
        ("update audit_block set signature = sha256('x') || sha256('y') where number = 2", "unsigned", 2),
        ("delete from audit_block where number = 2", "missing", 2),
        ("delete from audit_block where number < 4", "missing", 1),
        ("update audit_block set number = 5 - number where number in (2, 3)", "altered", 2),
        ("update audit_block set key = 'somebody.audit' where number = 2", "altered", 2),
    ],
)
async def test_a_touched_block_is_named(trail: Trail, statement: str, kind: str, block: int) -> None:
    for number in range(4):
        await trail.add(2, first=number)
        await trail.seal()
    if "5 - number" in statement:
        trail.tamper(
            "update audit_block set number = -number where number in (2, 3)".replace("-number", "number + 100"),
            "update audit_block set number = 105 - number where number > 100",
        )
    else:
        trail.tamper(statement)

    broken = (await trail.verify()).broken
    assert broken is not None
    assert (broken.kind, broken.block) == (kind, block)


async def test_a_cut_tail_is_found_by_the_head_kept_outside(trail: Trail) -> None:
    await trail.add(4)
    await trail.seal()
    kept = await trail.add(4, first=4)
    await trail.seal()
    gone = ", ".join(f"'{each}'" for each in kept)
    trail.tamper("delete from audit_block where number = 2", f"delete from audit_entry where id in ({gone})")

    broken = (await trail.verify()).broken

    assert broken is not None
    assert broken.kind == "cut"
    unanchored = await service.verify(trail.db, trail.actor, keyring=KEYRING)
    assert unanchored.broken is None  # which is why the head must be kept outside


async def test_a_history_rewritten_by_who_has_the_signing_key_is_found_by_the_head_kept_outside(trail: Trail) -> None:
    ids = await trail.add(4)
    await trail.seal()
    trail.tamper(f"delete from audit_entry where id = '{ids[1]}'", "delete from audit_block")
    await trail.seal(anchored=False)

    broken = (await trail.verify()).broken

    assert broken is not None
    assert (broken.kind, broken.block) == ("forked", 1)


async def test_a_history_rewritten_without_the_signing_key_is_found(trail: Trail) -> None:
    ids = await trail.add(4)
    await trail.seal()
    trail.tamper(f"delete from audit_entry where id = '{ids[1]}'", "delete from audit_block")
    forger = Trail(trail.db, trail.actor, trail.anchors, trail.url, Keyring(["f" * 32]))
    await forger.seal(anchored=False)

    verdict = await service.verify(trail.db, trail.actor, keyring=KEYRING)
    assert verdict.broken is not None
    assert verdict.broken.kind == "unsigned"


async def test_a_fork_from_an_older_backup_is_found(trail: Trail) -> None:
    await trail.add(2)
    await trail.seal()
    late = await trail.add(2, first=2)
    await trail.seal()
    gone = ", ".join(f"'{each}'" for each in late)
    trail.tamper("delete from audit_block where number = 2", f"delete from audit_entry where id in ({gone})")
    await trail.add(2, first=50)  # the restored copy goes on with another history
    await trail.seal(anchored=False)

    broken = (await trail.verify()).broken

    assert broken is not None
    assert (broken.kind, broken.block) == ("forked", 2)


async def test_a_trail_moved_to_another_server_goes_on(trail: Trail) -> None:
    await trail.add(3)
    await trail.seal()
    await trail.add(2, first=3)  # not sealed when the backup was made
    trail.tamper("update audit_entry set cluster = 77, xid = xid + 1000000", "delete from audit_block")
    await trail.add(2, first=5)  # transaction numbers have begun anew
    await trail.seal(anchored=False)

    verdict = await service.verify(trail.db, trail.actor, keyring=KEYRING)
    assert (verdict.rows, verdict.blocks, verdict.unsealed, verdict.broken) == (7, 2, 0, None)


async def test_a_retired_signing_key_is_proved_by_the_chain(trail: Trail) -> None:
    await trail.add(2)
    await trail.seal()
    trail.keyring = Keyring(["n" * 32])
    before = await service.verify(trail.db, trail.actor, keyring=trail.keyring)
    await trail.add(2, first=2)
    await trail.seal()

    after = await service.verify(trail.db, trail.actor, keyring=trail.keyring)
    assert before.broken is not None
    assert before.broken.kind == "unsigned"
    assert after.broken is None


async def test_another_organisation_has_its_own_chain(trail: Trail, other_actor: Actor) -> None:
    await trail.add(3)
    await trail.seal()

    verdict = await service.verify(trail.db, other_actor, keyring=KEYRING)
    assert (verdict.rows, verdict.blocks) == (0, 0)


async def test_the_nightly_proof_alerts_of_a_broken_trail_and_keeps_the_heads_of_sound_ones(trail: Trail) -> None:
    ids = await trail.add(3)
    await trail.seal(anchored=False)
    means = service.Means(KEYRING, trail.anchors)
    assert await service.prove_all(trail.db, means, now=NOW) == {}
    assert len(trail.anchors.records(str(trail.actor.org))) == 1
    trail.tamper(f"update audit_entry set actor = 'x' where id = '{ids[1]}'")

    broken = await service.prove_all(trail.db, means, now=NOW)

    assert set(broken) == {trail.actor.org}
    async with trail.db.reading(Actor(UUID(int=0), "system:test")) as tx:
        alert = await tx.one("select channel, facts from mail_outbox")
    assert alert is not None
    assert alert.channel == "alert"
    assert str(ids[1]) in alert.facts["body"]


async def test_the_sealer_goes_on_after_the_database_was_away(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, sealed = 0, asyncio.Event()
    real = service.seal

    async def flaky(*args: Any, **facts: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Unavailable("The database")
        heads = await real(*args, **facts)
        sealed.set()
        return heads

    monkeypatch.setattr(service, "seal", flaky)
    monkeypatch.setattr(jobs, "_PAUSE_AFTER_FAILURE_S", 0.01)
    monkeypatch.setattr(jobs, "SEAL_EVERY_S", 0.01)
    await trail.add(2)
    sealing = asyncio.create_task(jobs.keep_sealing(trail.db, service.Means(KEYRING)))
    await sealed.wait()
    sealing.cancel()

    assert (await trail.verify()).rows == 2


async def test_a_trail_longer_than_a_request_may_verify_is_refused(trail: Trail) -> None:
    for number in range(3):
        await trail.add(1, first=number)
        await trail.seal()

    assert (await service.verify(trail.db, trail.actor, keyring=KEYRING, blocks_max=3)).blocks == 3
    with pytest.raises(TooLarge, match="limit of 2 blocks"):
        await service.verify(trail.db, trail.actor, keyring=KEYRING, blocks_max=2)


async def test_verifying_needs_the_right(trail: Trail) -> None:
    with pytest.raises(NotAllowed, match="audit:read"):
        await service.verify(trail.db, Actor(trail.actor.org, "person:x"), keyring=KEYRING)


def test_heads_outside_keep_the_last_of_every_day(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path / "kept")
    for day, block in (("2026-11-19", 1), ("2026-11-19", 2), ("2026-11-20", 3), ("2026-11-20", 4)):
        anchors.keep("one", {"block": block}, day=day)
    with (tmp_path / "kept" / "one.days").open("ab") as torn:
        torn.write(b'{"block": 9')

    assert [each["block"] for each in anchors.records("one")] == [2, 4]
    anchors.forget("one")
    assert anchors.records("one") == []


def test_state_keeps_exact_values_and_hashes_what_is_large() -> None:
    found = rules.state(
        {
            "money": Money(1250, "EUR"),
            "rate": Decimal("1.10"),
            "at": NOW,
            "id": UUID(int=5),
            "big": 2**60,
            "nul": "a\0b",
        }
    )

    assert found["money"] == {"amount": "12.50", "currency": "EUR"}
    assert (found["rate"], found["big"], found["nul"]) == ("1.10", str(2**60), "a\u2400b")
    large = rules.state({"text": "x" * rules.STATE_BYTES_MAX})
    assert large["kept"] == "hash only"
    with pytest.raises(TypeError, match="bytes"):
        rules.state({"raw": b"secret"})


def test_a_block_takes_so_many_rows_and_bytes_and_no_more() -> None:
    small = [rules.Sealable(new_id(), 1, b"x") for _ in range(rules.BLOCK_ROWS_MAX + 1)]
    large = [rules.Sealable(new_id(), 1, bytes(rules.BLOCK_BYTES_MAX // 2 + 1)) for _ in range(5)]

    assert rules.cut(small) == rules.BLOCK_ROWS_MAX
    assert rules.cut(large) == 2
    assert rules.cut(small[:1]) == 1


async def test_more_rows_than_a_block_holds_become_several(trail: Trail) -> None:
    trail.tamper(
        "insert into audit_entry (org, id, at, actor, request_id, action, subject)"
        f" select '{trail.actor.org}', gen_random_uuid(), now(), 'a', 'r', 'b.c', 's' from generate_series(1, 2500)"
    )
    await trail.seal()

    verdict = await trail.verify()
    assert (verdict.rows, verdict.blocks, verdict.broken) == (2500, 3, None)


async def test_more_blocks_than_a_page_are_walked_in_order(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "BLOCKS_A_PAGE", 2)
    monkeypatch.setattr(rules, "BLOCK_ROWS_MAX", 3)
    ids = await trail.add(29)
    await trail.seal()
    whole = await trail.verify()
    trail.tamper(f"update audit_entry set actor = 'x' where id in ('{ids[10]}', '{ids[20]}')")
    touched = (await trail.verify()).broken
    trail.tamper("delete from audit_block where number in (3, 4)")
    cut = (await trail.verify()).broken

    assert (whole.rows, whole.blocks, whole.broken) == (29, 10, None)
    assert touched is not None
    assert (touched.block, touched.entry) == (4, ids[10])
    assert cut is not None
    assert (cut.kind, cut.block) == ("missing", 3)


async def test_an_entry_with_too_long_an_action_is_a_bug(trail: Trail) -> None:
    async with trail.db.writing(trail.actor) as tx:
        with pytest.raises(ValueError, match="too long"):
            await service.record(tx, trail.actor, action="x" * 101, subject="s", now=NOW + timedelta(0))


def sealed(*rows: rules.Sealable) -> rules.Block:
    """Return a block that seals ``rows``."""
    made = rules.Block(
        org=UUID(int=1),
        number=1,
        cluster=1,
        since=(0, rules.NOTHING),
        upto=(9, rules.NOTHING),
        rows=len(rows),
        content_hash=rules.content_hash(rows),
        leaves=b"".join(row.leaf for row in rows),
        previous_hash=rules.GENESIS,
        key="k",
        sealed_at=NOW,
    )
    return replace(made, hash=made.digest())


ONE, TWO, THREE = (rules.Sealable(UUID(int=n), 1, bytes([n])) for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("present", "kind", "entry"),
    [
        ((ONE, TWO), "deleted", THREE),
        ((TWO, THREE), "deleted", ONE),
        ((), "deleted", ONE),
        ((ONE, TWO, THREE, rules.Sealable(UUID(int=4), 1, b"4")), "inserted", rules.Sealable(UUID(int=4), 1, b"")),
        ((rules.Sealable(UUID(int=4), 1, b"4"), ONE, TWO, THREE), "inserted", rules.Sealable(UUID(int=4), 1, b"")),
        ((ONE, rules.Sealable(TWO.id, 1, b"x"), THREE), "edited", TWO),
        ((TWO, ONE, THREE), "reordered", TWO),
    ],
)
def test_the_first_difference_is_named(present: tuple[rules.Sealable, ...], kind: str, entry: rules.Sealable) -> None:
    broken = rules.first_difference(sealed(ONE, TWO, THREE), present)

    assert (broken.kind, broken.entry) == (kind, entry.id)


def test_a_block_whose_rows_are_all_there_but_hash_otherwise_is_itself_altered() -> None:
    assert rules.first_difference(sealed(ONE), (ONE,)).kind == "altered"


def test_a_block_of_another_number_or_after_another_block_is_found() -> None:
    block = sealed(ONE)
    follows = {"number": 1, "previous": rules.GENESIS, "since": (0, rules.NOTHING)}

    assert rules.fault(block, **follows) is None  # type: ignore[arg-type]
    for change, kind in (
        ({"number": 2}, "missing"),
        ({"previous": b"x"}, "altered"),
        ({"since": (1, rules.NOTHING)}, "altered"),
    ):
        broken = rules.fault(block, **{**follows, **change})  # type: ignore[arg-type]
        assert broken is not None
        assert broken.kind == kind


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        (0.5, 0.5),
        (Colour.RED, "red"),
        (date(2026, 1, 2), "2026-01-02"),
        ({"b", "a"}, ["a", "b"]),
        ((1, [2]), [1, [2]]),
        ("\ud800", "\\ud800"),
        ({1: Decimal("1E+2")}, {"1": "100"}),
    ],
)
def test_each_type_has_one_form_in_the_trail(value: object, kept: object) -> None:
    assert rules.state(value) == kept
