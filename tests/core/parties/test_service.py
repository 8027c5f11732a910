import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.parties import service
from bursar.core.parties.service import Mention
from bursar.infra.db import Database, Tx
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotAllowed, NotFound, TooLarge

NOW = datetime(2026, 3, 1, tzinfo=UTC)
IBAN = ("iban", "DE89370400440532013000")
VAT = ("vat", "DE136695976")


@pytest.fixture
async def tx(db: Database, actor: Actor) -> AsyncIterator[Tx]:
    async with db.writing(actor) as open_tx:
        yield open_tx


async def resolve(tx: Tx, actor: Actor, *mentions: Mention | str) -> list[UUID | None]:
    full = [Mention(one) if isinstance(one, str) else one for one in mentions]
    return await service.resolve(tx, actor, mentions=full, now=NOW)


async def suggested(tx: Tx) -> list[tuple[str, str, float]]:
    rows = await tx.all(service.suggestions(tx, tx.actor))
    return [(*sorted((row.one_name, row.other_name)), row.certainty) for row in rows]


async def test_spellings_of_one_name_are_one_party(tx: Tx, actor: Actor) -> None:
    first = await resolve(tx, actor, "ACME Ltd", "Acme Limited", "ZENITH", "", Mention("", (("iban", "no"),)))
    again = await resolve(tx, actor, "acme", "zenith gmbh")

    assert first[0] == first[1] != first[2]
    assert first[3:] == [None, None]
    assert again == [first[0], first[2]]


async def test_identifiers_decide_before_names(tx: Tx, actor: Actor) -> None:
    [acme] = await resolve(tx, actor, Mention("ACME Ltd", (IBAN,)))
    by_iban, learnt, other = await resolve(
        tx, actor, Mention("Something Else", (IBAN,)), "SOMETHING ELSE", Mention("Third", (VAT,))
    )

    assert by_iban == learnt == acme
    assert other != acme
    assert await resolve(tx, actor, Mention("ACME", (VAT,))) == [other]
    assert [(one, two) for one, two, _ in await suggested(tx)] == [("ACME Ltd", "Third")]


async def test_a_certain_likeness_is_taken_and_a_likely_one_is_only_suggested(tx: Tx, actor: Actor) -> None:
    [pal, smith, leeds] = await resolve(tx, actor, "Blue Berry", "Smith John Plumbing", "Leeds Building Supplies")
    [same, turned, likely, far] = await resolve(
        tx, actor, "BLUEBERRY", "JOHN SMITH PLUMBING", "LEEDS BUILDING SUPPLYS", "LEEDS CITY COUNCIL"
    )

    assert (same, turned) == (pal, smith)
    assert len({leeds, likely, far}) == 3
    assert [(one, two) for one, two, _ in await suggested(tx)] == [
        ("LEEDS BUILDING SUPPLYS", "Leeds Building Supplies")
    ]


async def test_likeness_works_within_one_call_too(tx: Tx, actor: Actor) -> None:
    one, two = await resolve(tx, actor, "Blue Berry", "BLUEBERRY")

    assert one == two


async def test_merging_moves_and_undoing_moves_back(tx: Tx, actor: Actor) -> None:
    keep, gone = await resolve(tx, actor, "ACME", Mention("ZENITH", (IBAN,)))
    assert keep
    assert gone
    change = await service.merge(tx, actor, keep=keep, gone=gone, now=NOW)

    assert await resolve(tx, actor, "zenith", Mention("", (IBAN,))) == [keep, keep]
    assert await service.current(tx, actor, parties=[gone, keep]) == {gone: (keep, "ACME"), keep: (keep, "ACME")}
    with pytest.raises(Conflict):
        await service.merge(tx, actor, keep=keep, gone=gone, now=NOW)
    await service.undo(tx, actor, change=change, now=NOW)
    assert await resolve(tx, actor, "zenith", Mention("", (IBAN,)), "acme") == [gone, gone, keep]
    with pytest.raises(Conflict):
        await service.undo(tx, actor, change=change, now=NOW)


async def test_splitting_moves_and_undoing_moves_back(tx: Tx, actor: Actor) -> None:
    [party] = await resolve(tx, actor, Mention("ACME", (IBAN,)))
    await resolve(tx, actor, Mention("ACME Leasing", (IBAN,)))
    assert party
    new, change = await service.split(tx, actor, party=party, name="Leasing", keys=["ACME LEASING"], now=NOW)

    assert await resolve(tx, actor, "acme leasing", "acme", Mention("", (IBAN,))) == [new, party, party]
    await service.undo(tx, actor, change=change, now=NOW)
    assert await resolve(tx, actor, "acme leasing") == [party]
    assert (await service.current(tx, actor, parties=[new]))[new][0] == party


async def test_what_cannot_be_split_is_refused(tx: Tx, actor: Actor) -> None:
    [party, other] = await resolve(tx, actor, "ACME", "ZENITH")
    assert party
    for keys, error in (([], Invalid), (["ZENITH"], Invalid), (["ACME"], Invalid)):
        with pytest.raises(error):
            await service.split(tx, actor, party=party, name="x", keys=keys, now=NOW)
    with pytest.raises(NotFound):
        await service.split(tx, actor, party=uuid4(), name="x", keys=["A"], now=NOW)
    with pytest.raises(NotFound):
        await service.undo(tx, actor, change=uuid4(), now=NOW)
    with pytest.raises(Conflict):
        await service.merge(tx, actor, keep=party, gone=party, now=NOW)
    assert other


async def test_a_pair_that_was_kept_apart_is_not_suggested_again(tx: Tx, actor: Actor) -> None:
    one, other = await resolve(tx, actor, "Leeds Building Supplies", "Leeds Building Supplys")
    assert one
    assert other
    assert len(await suggested(tx)) == 1
    await service.keep_apart(tx, actor, one=other, other=one, now=NOW)
    await resolve(tx, actor, "Leeds Building Supplies", "Leeds Building Supplys")

    assert await suggested(tx) == []


async def test_what_people_decide_is_in_the_audit_trail(tx: Tx, actor: Actor) -> None:
    keep, gone = await resolve(tx, actor, "ACME", "ZENITH")
    assert keep
    assert gone
    change = await service.merge(tx, actor, keep=keep, gone=gone, now=NOW)
    await service.undo(tx, actor, change=change, now=NOW)
    await service.keep_apart(tx, actor, one=keep, other=gone, now=NOW)
    await service.rename(tx, actor, party=keep, name="Acme Tools", now=NOW)

    told = (await tx.run(audit.listing(tx, actor, subject=f"party:{keep}").order_by(sa.text("id")).limit(9))).all()
    assert [row.action for row in told] == [
        "party.merged", "party.change_undone", "party.kept_apart", "party.renamed",
    ]  # fmt: skip
    assert (told[3].before, told[3].after) == ({"name": "ACME"}, {"name": "Acme Tools"})


async def test_renaming_keeps_the_spellings(tx: Tx, actor: Actor) -> None:
    [party] = await resolve(tx, actor, "ACME")
    assert party
    await service.rename(tx, actor, party=party, name="Acme Tools", now=NOW)

    assert await resolve(tx, actor, "acme") == [party]
    assert [row.name for row in await tx.all(service.listing(tx, actor, starts="acme t"))] == ["Acme Tools"]
    for name, error in (("", Invalid), ("n" * 501, Invalid)):
        with pytest.raises(error):
            await service.rename(tx, actor, party=party, name=name, now=NOW)
    with pytest.raises(NotFound):
        await service.rename(tx, actor, party=uuid4(), name="x", now=NOW)


async def test_rights_and_limits(
    tx: Tx, actor: Actor, make_actor: Callable[..., Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotAllowed):
        await resolve(tx, make_actor("party:read"), "ACME")
    with pytest.raises(NotAllowed):
        await service.current(tx, make_actor(), parties=[])
    monkeypatch.setattr(service, "MENTIONS_MAX", 1)
    with pytest.raises(TooLarge):
        await resolve(tx, actor, "A", "B")


async def test_concurrent_imports_make_one_party(db: Database, actor: Actor) -> None:
    async def load(number: int) -> list[UUID | None]:
        async with db.writing(actor) as tx:
            return await resolve(tx, actor, *[f"SUPPLIER {n}" for n in range(50)], f"OWN {number}")

    results = await asyncio.gather(*[load(number) for number in range(4)])

    assert len({tuple(result[:50]) for result in results}) == 1
    assert len({result[50] for result in results}) == 4


async def test_many_mentions_are_written_as_sets(tx: Tx, actor: Actor) -> None:
    got = await resolve(tx, actor, *[Mention(f"Firm {n} xx{n}", (("supplier", f"S{n}"),)) for n in range(2_000)] * 3)

    assert len(set(got)) == 2_000
    assert await tx.scalar("select count(*) from party_name") == 2_000


async def test_organisations_do_not_share_parties(db: Database, actor: Actor, other_actor: Actor) -> None:
    async with db.writing(actor) as tx:
        mine = await resolve(tx, actor, Mention("ACME", (IBAN,)))
    async with db.writing(other_actor) as tx:
        theirs = await resolve(tx, other_actor, Mention("ACME", (IBAN,)))

    assert mine != theirs


async def test_a_number_in_the_text_joins_names_alike_and_only_suggests_others(tx: Tx, actor: Actor) -> None:
    [leeds] = await resolve(tx, actor, Mention("Leeds Building Supplies", told=(VAT,)))
    alike, other, *many = await resolve(
        tx,
        actor,
        Mention("LEEDS BUILDING SUPPLYS", told=(VAT,)),
        Mention("Zenith", told=(VAT,)),
        *(Mention(f"{name} Trading", told=(VAT,)) for name in ("Quux", "Frobozz", "Xyzzy", "Plugh")),
    )

    assert alike == leeds != other
    assert len({leeds, other, *many}) == 6
    assert {one for one, _, _ in await suggested(tx)} | {two for _, two, _ in await suggested(tx)} == {
        "Leeds Building Supplies",
        "Zenith",
        "Quux Trading",
        "Frobozz Trading",
    }


async def test_accounts_of_those_who_collect_for_others_join_nobody(tx: Tx, actor: Actor) -> None:
    shop, other = await resolve(
        tx, actor, Mention("Bol.com via Stichting Mollie Payments", (IBAN,)), Mention("Coolblue via Mollie", (IBAN,))
    )

    assert shop != other
    assert await suggested(tx) == []
