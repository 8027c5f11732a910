"""Organisations and members: invitations, roles, owners, leaving, deletion and erasure for good."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.identity.members import service as members
from bursar.core.identity.organisations import service
from bursar.core.identity.rules.passwords import PasswordTooShort
from bursar.core.identity.rules.rights import FRESH
from bursar.core.identity.rules.sessions import INVITATIONS_MAX, SpentToken, StepUpNeeded
from bursar.core.identity.store import organisations as store
from bursar.core.identity.store import people
from bursar.infra.crypto import Keyring
from bursar.infra.db import Database, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotAllowed, NotFound, NotSignedIn, Stale, TooMany
from tests.core.identity.house import NOW, PASSWORD, House
from tests.core.identity.test_keys import made as made_key

BOB = "bob@example.com"


def unseen(_: object) -> None:
    """Accept any version."""


async def owner_of(house: House) -> Actor:
    return await house.member(await house.organisation(), "owner")


async def invited(house: House, owner: Actor, *roles: str, email: str = BOB) -> str:
    async with house.db.writing(owner) as tx:
        await members.invite(tx, house.means, owner, email=email, roles=roles or ("viewer",), now=NOW)
    return await house.token(email, owner.org)


async def accept(house: House, link: str, *, password: str = PASSWORD, now: Any = NOW + timedelta(minutes=1)) -> UUID:
    return await members.accept(
        house.db, house.means, token_=link, name="Bob", password=password, request_id="r", now=now
    )


async def test_somebody_new_takes_up_an_invitation_and_signs_in(house: House) -> None:
    owner = await owner_of(house)
    link = await invited(house, owner, "finance", email="Bob@Example.com")

    assert await accept(house, link) == owner.org

    actor = await house.who(cookie=(await house.sign_in(BOB)).token)
    assert (actor.org, actor.may("ledger:close"), actor.may("organisation:delete")) == (owner.org, True, False)
    assert [action for action, _ in await house.trail(owner.org)] == [
        "invitation.sent",
        "member.joined",
        "session.opened",
    ]


async def test_somebody_with_an_account_joins_with_it(house: House) -> None:
    owner = await owner_of(house)
    first, person = await house.sign_up(BOB)
    await accept(house, await invited(house, owner, "viewer"), password="")

    assert (await house.who(cookie=(await house.sign_in(BOB, organisation=owner.org)).token)).person == person
    assert (await house.sign_in(BOB)).org == first


async def test_an_invitation_works_once_of_32_concurrent_uses(house: House) -> None:
    link = await invited(house, await owner_of(house))

    done = await asyncio.gather(*(accept(house, link) for _ in range(32)), return_exceptions=True)
    assert sum(isinstance(each, UUID) for each in done) == 1
    assert sum(isinstance(each, SpentToken) for each in done) == 31


async def test_an_invitation_expires_is_withdrawn_and_replaced(house: House) -> None:
    owner = await owner_of(house)
    link = await invited(house, owner)
    with pytest.raises(SpentToken):
        await accept(house, link, now=NOW + timedelta(days=7))
    again = await invited(house, owner)
    with pytest.raises(SpentToken):
        await accept(house, link)
    async with house.db.writing(owner) as tx:
        (row,) = await tx.all(members.invitations(tx, owner, now=NOW))
        await members.withdraw(tx, owner, id_=row.id, now=NOW)
        with pytest.raises(NotFound):
            await members.withdraw(tx, owner, id_=row.id, now=NOW)
    with pytest.raises(SpentToken):
        await accept(house, again)
    with pytest.raises(SpentToken):
        await accept(house, "x" * 43)


async def test_a_refused_password_leaves_the_invitation_usable(house: House) -> None:
    link = await invited(house, await owner_of(house))
    with pytest.raises(PasswordTooShort):
        await accept(house, link, password="short")

    assert await accept(house, link)


async def test_an_administrator_invites_everybody_but_an_owner(house: House) -> None:
    owner = await owner_of(house)
    admin = await house.member(owner.org, "admin")

    assert await invited(house, admin, "admin")
    with pytest.raises(NotAllowed, match="owner"):
        await invited(house, admin, "owner")
    with pytest.raises(Invalid, match="emperor"):
        await invited(house, admin, "emperor")
    with pytest.raises(StepUpNeeded):
        await invited(house, Actor(admin.org, admin.name, admin.rights - {FRESH}, admin.person))
    with pytest.raises(NotAllowed, match="member:write"):
        await invited(house, await house.member(owner.org, "finance"))


async def test_open_invitations_are_limited(house: House) -> None:
    owner = await owner_of(house)
    async with house.db.writing(owner) as tx:
        await tx.run(
            "insert into identity_invitation (org, id, token_hash, email, roles, invited_by, created_at, expires_at)"
            " select :org, gen_random_uuid(), sha256(n::text::bytea), n::text, '{viewer}', 'x', :now, :later"
            " from generate_series(1, :count) n",
            {"org": owner.org, "now": NOW, "later": NOW + timedelta(days=1), "count": INVITATIONS_MAX},
        )
    with pytest.raises(TooMany, match="open invitations"):
        await invited(house, owner)


async def set_roles(
    house: House, actor: Actor, person: UUID | None, *roles: str, seen: Callable[[object], None] = unseen
) -> None:
    assert person is not None
    async with house.db.writing(actor) as tx:
        await members.set_roles(tx, actor, person=person, roles=roles, seen=seen, now=NOW)


async def test_roles_are_changed_and_recorded(house: House) -> None:
    owner = await owner_of(house)
    bob = await house.member(owner.org, "viewer")

    await set_roles(house, owner, bob.person, "finance", "buyer")

    async with house.db.reading(owner) as tx:
        assert bob.person is not None
        row = await members.member(tx, owner, person=bob.person)
        entry = await tx.one("select before, after from audit_entry")
    assert row.roles == ["buyer", "finance"]
    assert entry is not None
    assert tuple(entry) == ({"roles": ["viewer"]}, {"roles": ["buyer", "finance"]})


async def test_nobody_overwrites_a_change_they_have_not_seen(house: House) -> None:
    owner = await owner_of(house)
    bob = await house.member(owner.org, "viewer")

    def stale(_: object) -> None:
        raise Stale

    with pytest.raises(Stale):
        await set_roles(house, owner, bob.person, "finance", seen=stale)


async def test_only_owners_make_and_unmake_owners(house: House) -> None:
    owner = await owner_of(house)
    admin = await house.member(owner.org, "admin")
    with pytest.raises(NotAllowed):
        await set_roles(house, admin, admin.person, "owner")
    with pytest.raises(NotAllowed):
        await set_roles(house, admin, owner.person, "viewer")
    assert owner.person is not None
    async with house.db.writing(admin) as tx:
        with pytest.raises(NotAllowed):
            await members.remove(tx, admin, person=owner.person, now=NOW)


async def test_an_api_key_with_the_right_makes_no_owner(house: House) -> None:
    owner = await owner_of(house)
    bob = await house.member(owner.org, "viewer")
    key = Actor(owner.org, "key:abcdefgh", frozenset({"member:write", FRESH}))

    with pytest.raises(NotAllowed):
        await set_roles(house, key, bob.person, "owner")


async def test_the_last_owner_stays(house: House) -> None:
    owner = await owner_of(house)
    with pytest.raises(Conflict, match="needs an owner"):
        await set_roles(house, owner, owner.person, "admin")
    async with house.db.writing(owner) as tx:
        with pytest.raises(Conflict, match="needs an owner"):
            await members.leave(tx, owner, now=NOW)


async def test_two_owners_who_leave_at_once_leave_one(house: House) -> None:
    first = await owner_of(house)
    second = await house.member(first.org, "owner")

    async def leave(actor: Actor) -> None:
        async with house.db.writing(actor) as tx:
            await members.leave(tx, actor, now=NOW)

    done = await asyncio.gather(leave(first), leave(second), return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Conflict", "NoneType"]


async def test_leaving_ends_sessions_and_keys_there_and_nowhere_else(house: House) -> None:
    owner = await owner_of(house)
    home, _ = await house.sign_up(BOB)
    await accept(house, await invited(house, owner, "admin"), password="")
    here, there = await house.sign_in(BOB, organisation=owner.org), await house.sign_in(BOB, organisation=home)
    bob = await house.who(cookie=here.token)
    _, key = await made_key(house, bob)
    async with house.db.writing(bob) as tx:
        await members.leave(tx, bob, now=NOW)

    with pytest.raises(NotSignedIn):
        await house.who(cookie=here.token)
    with pytest.raises(NotSignedIn):
        await house.who(bearer=key)
    assert (await house.who(cookie=there.token)).org == home


async def test_an_organisation_is_handed_over(house: House) -> None:
    owner = await owner_of(house)
    bob = await house.member(owner.org, "finance")
    assert bob.person is not None
    assert owner.person is not None
    async with house.db.writing(owner) as tx:
        with pytest.raises(Conflict):
            await members.hand_over(tx, owner, person=owner.person, now=NOW)
        with pytest.raises(NotFound):
            await members.hand_over(tx, owner, person=new_id(), now=NOW)
        await members.hand_over(tx, owner, person=bob.person, now=NOW)
        rows = {row.person: row.roles for row in await tx.all(members.members(tx, owner))}
    assert rows == {bob.person: ["finance", "owner"], owner.person: ["admin"]}
    async with house.db.writing(owner) as tx:
        with pytest.raises(NotAllowed):
            await members.hand_over(tx, owner, person=bob.person, now=NOW)


async def test_another_organisation_answers_as_if_it_did_not_exist(house: House) -> None:
    owner, stranger = await owner_of(house), await owner_of(house)
    bob = await house.member(owner.org, "viewer")
    assert bob.person is not None
    said = []
    for person in (bob.person, new_id()):
        async with house.db.writing(stranger) as tx:
            for ask in (
                lambda p=person: members.member(tx, stranger, person=p),
                lambda p=person: members.remove(tx, stranger, person=p, now=NOW),
                lambda p=person: members.set_roles(tx, stranger, person=p, roles=["viewer"], seen=unseen, now=NOW),
                lambda p=person: members.hand_over(tx, stranger, person=p, now=NOW),
            ):
                with pytest.raises(NotFound) as error:
                    await ask()
                said.append(str(error.value).replace(str(person), "?"))
            assert [row.person for row in await tx.all(members.members(tx, stranger))] == [stranger.person]
    assert set(said) == {"There is no member ? here."}


async def test_row_level_security_confines_identity_by_itself(house: House) -> None:
    owner, stranger = await owner_of(house), await owner_of(house)
    await made_key(house, owner)
    await invited(house, owner)
    async with house.db.writing(stranger) as tx:
        for table in ("membership", "key", "invitation", "session", "family", "refresh"):
            rows = await tx.all(f"select org from identity_{table}")
            assert {row.org for row in rows} <= {stranger.org}, table
        assert [row.id for row in await tx.all("select id from identity_organisation")] == [stranger.org]
        changed = await tx.run("update identity_membership set roles = '{owner}' where org = :org", {"org": owner.org})
        assert changed.rowcount == 0
        insert = (
            "insert into identity_membership (org, person, roles, since, changed_at)"
            " values (:org, :person, '{owner}', now(), now())"
        )
        with pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
            async with tx.savepoint():
                await tx.run(insert, {"org": owner.org, "person": stranger.person})


async def test_an_organisation_is_renamed_by_who_has_seen_it(house: House) -> None:
    owner = await owner_of(house)
    async with house.db.writing(owner) as tx:
        row = await service.rename(tx, owner, name=" New name ", seen=unseen, now=NOW)
        assert row.name == "New name"
        with pytest.raises(NotAllowed):
            await service.rename(tx, Actor(owner.org, "x"), name="y", seen=unseen, now=NOW)


async def test_a_person_founds_a_further_organisation_and_a_key_does_not(house: House) -> None:
    owner = await owner_of(house)
    second = await service.found(house.db, owner, name="Second", now=NOW)

    async with house.db.system("test") as tx:
        assert owner.person is not None
        found = await people.organisations_of(tx, owner.person)
    assert {row.id for row in found} == {owner.org, second}
    with pytest.raises(NotFound):
        await service.found(house.db, Actor(owner.org, "key:x"), name="Third", now=NOW)


async def test_a_deleted_organisation_is_called_back_within_its_grace_period(house: House) -> None:
    owner = await owner_of(house)
    async with house.db.writing(owner) as tx:
        with pytest.raises(Conflict, match="not deleted"):
            await service.keep(tx, owner, now=NOW)
        until = await service.delete(tx, owner, now=NOW)
        with pytest.raises(Conflict, match="deleted already"):
            await service.delete(tx, owner, now=NOW)
        await service.keep(tx, owner, now=until - timedelta(seconds=1))
    assert until == NOW + timedelta(days=30)
    assert await service.erase_due(house.db, now=until + timedelta(days=1)) == []


async def test_deleting_takes_the_owner_and_a_fresh_proof(house: House) -> None:
    owner = await owner_of(house)
    admin = await house.member(owner.org, "admin")
    async with house.db.writing(owner) as tx:
        with pytest.raises(NotAllowed):
            await service.delete(tx, admin, now=NOW)
        with pytest.raises(StepUpNeeded):
            await service.delete(tx, Actor(owner.org, "key:x", owner.rights - {FRESH}), now=NOW)


async def rows_of(owner_url: str, org: UUID) -> dict[str, int]:
    """Count the rows of an organisation in every table with a column ``org``, past the policies."""
    engine = sa.create_engine(owner_url, poolclass=sa.pool.NullPool)
    found = {}
    with engine.connect() as connection:
        tables = connection.execute(
            sa.text(
                "select c.oid::regclass::text from pg_class c join pg_attribute a on a.attrelid = c.oid"
                " where a.attname = 'org' and c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace"
            )
        )
        for (table,) in tables.all():
            connection.execute(sa.text("select set_config('bursar.org', :org, false)"), {"org": str(org)})
            count = connection.execute(sa.text(f"select count(*) from {table} where org = :org"), {"org": org})
            found[table] = count.scalar_one()
    return {table: count for table, count in found.items() if count}


async def test_erasure_removes_every_row_of_the_organisation_and_no_other(house: House, owner_url: str) -> None:
    owner, stranger = await owner_of(house), await owner_of(house)
    bob_home, _ = await house.sign_up(BOB)
    await accept(house, await invited(house, owner), password="")
    await invited(house, owner, email="carol@example.com")
    await made_key(house, owner)
    await made_key(house, stranger)
    await house.sign_in(BOB, organisation=owner.org)
    await audit.seal(house.db, keyring=Keyring(["k" * 32]), now=NOW)
    before = await rows_of(owner_url, stranger.org)
    assert len(await rows_of(owner_url, owner.org)) >= 6
    async with house.db.writing(owner) as tx:
        # the database looks at its own clock too: a due date in the future of this test would be refused
        await store.change(tx, {"purge_after": NOW - timedelta(days=400)})
    erased: list[UUID] = []

    async def eraser(org: UUID) -> None:
        erased.append(org)

    assert await service.erase_due(house.db, erasers=[eraser], now=NOW) == [owner.org]

    assert erased == [owner.org]
    assert await rows_of(owner_url, owner.org) == {}
    assert await rows_of(owner_url, stranger.org) == before
    assert await service.erase_due(house.db, now=NOW) == []
    async with house.db.system("test") as tx:
        assert owner.person is not None
        assert await people.by_id(tx, owner.person) is None  # belonged nowhere else
        stone = await tx.one("select name, purged_at from identity_organisation where id = :id", {"id": owner.org})
    assert stone is not None
    assert tuple(stone) == ("", NOW)
    assert (await house.sign_in(BOB)).org == bob_home


async def test_the_database_erases_nothing_that_is_not_due(house: House, db: Database) -> None:
    owner = await owner_of(house)
    for due in (None, "now() + interval '1 day'"):
        async with db.writing(owner) as tx:
            if due:
                await tx.run(f"update identity_organisation set purge_after = {due}")
            with pytest.raises(sa.exc.ProgrammingError, match="not due to be erased"):
                async with tx.savepoint():
                    await store.erase_step(tx, owner.org, 10)


async def test_what_has_expired_is_forgotten_and_nothing_else(house: House) -> None:
    await house.sign_up(BOB)
    old = await house.sign_in(BOB)
    later = NOW + timedelta(days=100)
    new = await house.sign_in(BOB, now=later)

    past = NOW + timedelta(days=10)
    assert await service.forget_expired(house.db, ended=past, tries=past, registrations=past) >= 3

    assert await house.who(cookie=new.token, now=later)
    with pytest.raises(NotSignedIn):
        await house.who(cookie=old.token)
    assert await service.forget_expired(house.db, ended=past, tries=past, registrations=past) == 0
