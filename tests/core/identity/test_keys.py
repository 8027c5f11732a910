"""API keys."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bursar.core.identity.keys import service
from bursar.core.identity.members import service as members
from bursar.core.identity.rules.rights import FRESH
from bursar.core.identity.rules.sessions import KEYS_MAX, StepUpNeeded
from bursar.infra.crypto import api_key, check_digits
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotAllowed, NotFound, NotSignedIn, TooMany
from tests.core.identity.house import NOW, House


async def made(house: House, actor: Actor, **facts: Any) -> tuple[Any, str]:
    wanted: dict[str, Any] = {
        "name": "robot",
        "scopes": ["cost:read", "budget:read"],
        "networks": [],
        "days": 90,
    } | facts
    async with house.db.writing(actor) as tx:
        return await service.make(tx, actor, now=NOW, **wanted)


async def admin_of(house: House, *roles: str) -> Actor:
    return await house.member(await house.organisation(), *(roles or ("owner",)))


async def test_a_key_acts_for_the_organisation_within_its_scopes(house: House) -> None:
    owner = await admin_of(house)
    row, text = await made(house, owner)

    actor = await house.who(bearer=text)
    assert (actor.org, actor.name, actor.person) == (owner.org, f"key:{row.id}", None)
    assert actor.rights == {"cost:read", "budget:read"}
    assert [action for action, _ in await house.trail(owner.org)] == ["key.made"]


async def test_only_the_hash_of_a_key_is_stored(house: House) -> None:
    owner = await admin_of(house)
    _, text = await made(house, owner)
    async with house.db.system("test") as tx:
        rows = await tx.all("select k::text from identity_key k")
    async with house.db.reading(owner) as tx:
        trail = await tx.all("select e::text from audit_entry e")

    assert all(text[18:] not in row[0] for row in [*rows, *trail])


async def test_a_wrong_or_made_up_key_is_nobody(house: House) -> None:
    owner = await admin_of(house)
    row, text = await made(house, owner)
    other = api_key()[1]
    head = f"bsr_live_{row.id}_{other[18:50]}"
    for wrong in (other, text[:-1], text + "x", text.swapcase(), head + check_digits(head), head + text[-6:]):
        with pytest.raises(NotSignedIn):
            await house.who(bearer=wrong)


async def test_a_key_expires(house: House) -> None:
    owner = await admin_of(house)
    _, text = await made(house, owner, days=1)

    assert await house.who(bearer=text, now=NOW + timedelta(hours=23))
    with pytest.raises(NotSignedIn):
        await house.who(bearer=text, now=NOW + timedelta(days=1))


async def test_a_key_is_used_from_its_networks_only(house: House) -> None:
    owner = await admin_of(house)
    _, text = await made(house, owner, networks=["192.0.2.0/24", "2001:db8::7"])

    for address in ("192.0.2.44", "::ffff:192.0.2.44", "2001:db8::7"):
        assert await house.who(bearer=text, address=address)
    for address in ("198.51.100.1", "2001:db8::8", ""):
        with pytest.raises(NotSignedIn):
            await house.who(bearer=text, address=address)
    # also when the answer is remembered from a call that was allowed
    await house.who(bearer=text, address="192.0.2.44")
    with pytest.raises(NotSignedIn):
        await house.gate(house.db, authorization=f"Bearer {text}", cookie=None, address="198.51.100.1", now=NOW)


async def test_the_last_use_is_noted_once_a_minute(house: House) -> None:
    owner = await admin_of(house)
    row, text = await made(house, owner)

    async def used() -> tuple[Any, str]:
        async with house.db.reading(owner) as tx:
            (found,) = await tx.all(service.listing(tx, owner))
        return found.used_at, found.used_from

    for seconds, address in ((0, "192.0.2.1"), (30, "192.0.2.2"), (61, "192.0.2.3")):
        await house.who(bearer=text, address=address, now=NOW + timedelta(seconds=seconds))
        if seconds == 30:
            assert await used() == (NOW, "192.0.2.1")
    assert await used() == (NOW + timedelta(seconds=61), "192.0.2.3")
    del row


async def test_a_revoked_key_is_nobody(house: House) -> None:
    owner = await admin_of(house)
    row, text = await made(house, owner)
    async with house.db.writing(owner) as tx:
        await service.revoke(tx, owner, id_=row.id, now=NOW)
        with pytest.raises(NotFound):
            await service.revoke(tx, owner, id_=row.id, now=NOW)

    with pytest.raises(NotSignedIn):
        await house.who(bearer=text)


async def test_a_key_is_rotated_with_two_live_and_no_third(house: House) -> None:
    owner = await admin_of(house)
    first, old = await made(house, owner, networks=["192.0.2.0/24"])
    async with house.db.writing(owner) as tx:
        second, new = await service.rotate(tx, owner, id_=first.id, days=30, now=NOW)
        assert (second.name, second.scopes, second.networks) == (first.name, first.scopes, first.networks)
        with pytest.raises(Conflict, match="two keys"):
            await service.rotate(tx, owner, id_=second.id, days=30, now=NOW)
    for text in (old, new):
        assert await house.who(bearer=text, address="192.0.2.1")
    async with house.db.writing(owner) as tx:
        await service.revoke(tx, owner, id_=first.id, now=NOW)
        assert await service.rotate(tx, owner, id_=second.id, days=30, now=NOW)


async def test_an_expired_key_makes_room_for_its_successor(house: House) -> None:
    owner = await admin_of(house)
    first, _ = await made(house, owner, days=1)
    later = NOW + timedelta(days=2)
    async with house.db.writing(owner) as tx:
        _, text = await service.rotate(tx, owner, id_=first.id, days=30, now=later)

    assert await house.who(bearer=text, now=later)


async def test_of_8_concurrent_rotations_one_succeeds(house: House) -> None:
    owner = await admin_of(house)
    first, _ = await made(house, owner)

    async def rotate() -> None:
        async with house.db.writing(owner) as tx:
            await service.rotate(tx, owner, id_=first.id, days=30, now=NOW)

    done = await asyncio.gather(*(rotate() for _ in range(8)), return_exceptions=True)
    assert sum(each is None for each in done) == 1
    assert sum(isinstance(each, Conflict) for each in done) == 7


async def test_nobody_makes_a_key_that_can_do_more_than_they_can(house: House) -> None:
    admin = await admin_of(house, "admin")

    with pytest.raises(Invalid, match="organisation:delete"):
        await made(house, admin, scopes=["organisation:delete"])


async def test_a_key_never_does_more_than_its_maker_may_now(house: House) -> None:
    owner = await admin_of(house)
    admin = await house.member(owner.org, "admin")
    _, text = await made(house, admin, scopes=["cost:read", "key:write"])
    assert admin.person is not None
    async with house.db.writing(owner) as tx:
        await members.set_roles(tx, owner, person=admin.person, roles=["viewer"], seen=lambda _: None, now=NOW)
    assert (await house.who(bearer=text)).rights == {"cost:read"}

    async with house.db.writing(owner) as tx:
        await members.remove(tx, owner, person=admin.person, now=NOW)
    with pytest.raises(NotSignedIn):
        await house.who(bearer=text)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"scopes": []}, Invalid),
        ({"scopes": ["cost:everything"]}, Invalid),
        ({"networks": ["everywhere"]}, Invalid),
        ({"days": 0}, Invalid),
        ({"days": 366}, Invalid),
        ({"name": "\n"}, Invalid),
    ],
)
async def test_what_makes_no_key_is_refused(house: House, change: dict[str, Any], refusal: type) -> None:
    owner = await admin_of(house)
    with pytest.raises(refusal):
        await made(house, owner, **change)


async def test_making_keys_takes_the_right_and_a_fresh_proof(house: House) -> None:
    owner = await admin_of(house)
    with pytest.raises(NotAllowed, match="key:write"):
        await made(house, Actor(owner.org, "x", frozenset({FRESH})))
    with pytest.raises(StepUpNeeded):
        await made(house, Actor(owner.org, "key:x", owner.rights - {FRESH}))


async def test_an_organisation_has_so_many_keys_and_no_more(house: House) -> None:
    owner = await admin_of(house)
    async with house.db.writing(owner) as tx:
        await tx.run(
            "insert into identity_key (org, id, lineage, slot, name, secret_hash, scopes, networks, created_at,"
            " expires_at, used_from) select :org, lpad(n::text, 8, '0'), gen_random_uuid(), 0, 'x', '', '{}', '{}',"
            " now(), now(), '' from generate_series(1, :count) n",
            {"org": owner.org, "count": KEYS_MAX},
        )
    with pytest.raises(TooMany, match="API keys"):
        await made(house, owner)


async def test_a_key_of_another_organisation_is_as_unknown_as_none(house: House) -> None:
    owner, stranger = await admin_of(house), await admin_of(house)
    row, _ = await made(house, owner)
    refused = []
    for id_ in (row.id, "00000000"):
        async with house.db.writing(stranger) as tx:
            with pytest.raises(NotFound) as error:
                await service.revoke(tx, stranger, id_=id_, now=NOW)
            refused.append(str(error.value).replace(id_, ""))
            with pytest.raises(NotFound):
                await service.rotate(tx, stranger, id_=id_, days=30, now=NOW)
    assert refused[0] == refused[1]
