"""Signing in, being throttled, sessions, step-up, the gate and the local owner."""

import asyncio
import statistics
import time
from datetime import timedelta
from uuid import UUID

import pytest

from bursar.core.identity.rules import sessions as rules
from bursar.core.identity.rules.rights import FRESH
from bursar.core.identity.rules.sessions import StepUpNeeded, WrongCredentials
from bursar.core.identity.service import CACHED_MAX, Gate, local_owner, must_be_fresh, session_token
from bursar.core.identity.sessions import service
from bursar.core.identity.sessions.service import NoOrganisation, Opened, Place
from bursar.core.identity.store import attempts, organisations, people
from bursar.infra.crypto import Cost, Passwords, token
from bursar.infra.db import Database, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotAllowed, NotFound, NotSignedIn, Refusal, TooMany
from tests.core.identity.house import NOW, PASSWORD, PLACE, House, cheap_means

EMAIL = "ada@example.com"


async def wrong(house: House, email: str = EMAIL, *, after_s: float = 0, address: str = PLACE.address) -> Refusal:
    """Return what is said to a wrong password."""
    with pytest.raises(Refusal) as refused:
        await house.sign_in(email, password="wrong", now=NOW + timedelta(seconds=after_s), place=Place(address))
    return refused.value


async def signed_in(house: House, *roles: str) -> tuple[Opened, Actor]:
    org = await house.organisation()
    actor = await house.member(org, *(roles or ("owner",)), email=EMAIL)
    return await house.sign_in(EMAIL), actor


async def test_a_wrong_password_and_an_unknown_name_are_answered_alike(house: House) -> None:
    await signed_in(house)

    known, unknown = await wrong(house), await wrong(house, "nobody@example.com")
    malformed = await wrong(house, "nobody")
    assert {(type(each), str(each)) for each in (known, unknown, malformed)} == {(WrongCredentials, str(known))}


async def test_a_person_without_a_password_cannot_sign_in(house: House) -> None:
    org = await house.organisation()
    await house.member(org, "owner", email=EMAIL, password=None)

    assert isinstance(await wrong(house), WrongCredentials)


async def test_an_unknown_name_takes_as_long_as_a_known_one(db: Database) -> None:
    means = cheap_means()
    house = House(db, means)
    house.means = type(means)(means.keyring, Passwords(), means.url)
    org = await house.organisation()
    names = [f"ada{n}@example.com" for n in range(7)]
    for name in names:
        await house.member(org, "viewer", email=name)

    async def seconds(email: str, address: str) -> float:
        start = time.process_time()
        assert isinstance(await wrong(house, email, address=address), WrongCredentials)
        return time.process_time() - start

    known = [await seconds(name, f"192.0.2.{n}") for n, name in enumerate(names)]
    unknown = [await seconds(f"x{n}@example.com", f"192.0.2.{100 + n}") for n in range(7)]
    ratio = statistics.median(unknown) / statistics.median(known)
    assert 0.7 < ratio < 1.4, (known, unknown)
    house.means.passwords.close()
    means.passwords.close()


async def test_five_wrong_passwords_a_minute_are_answered_then_one_has_to_wait(house: House) -> None:
    await signed_in(house)
    answers = [await wrong(house) for _ in range(6)]

    assert [type(each) for each in answers] == [WrongCredentials] * 5 + [TooMany]
    with pytest.raises(TooMany):  # the right one, too
        await house.sign_in(EMAIL)
    assert isinstance(await wrong(house, after_s=59), TooMany)
    assert (await house.sign_in(EMAIL, now=NOW + timedelta(seconds=61))).token
    assert isinstance(await wrong(house, after_s=62), WrongCredentials)  # a right one clears the record


async def test_each_further_failure_doubles_the_wait(house: House) -> None:
    await signed_in(house)
    at_s, waits = 0.0, []
    for _ in range(9):
        while isinstance(refused := await wrong(house, after_s=at_s, address="192.0.2.1"), TooMany):
            waits.append(refused.retry_after_s)
            at_s += refused.retry_after_s

    assert waits == [60, 120, 240, 480]


async def test_unknown_accounts_are_throttled_like_known_ones(house: House) -> None:
    answers = [await wrong(house, "nobody@example.com") for _ in range(6)]

    assert [type(each) for each in answers] == [WrongCredentials] * 5 + [TooMany]


async def test_one_address_has_twenty_tries_a_minute_over_all_accounts(house: House) -> None:
    answers = [await wrong(house, f"somebody{n}@example.com") for n in range(21)]

    assert [type(each) for each in answers] == [WrongCredentials] * 20 + [TooMany]
    assert isinstance(await wrong(house, "elsewhere@example.com", address="192.0.2.1"), WrongCredentials)


async def test_32_concurrent_guesses_get_no_more_than_five_answers(house: House) -> None:
    await signed_in(house)

    async def guess(number: int) -> Refusal:
        return await wrong(house, address=f"192.0.2.{number}")

    answers = await asyncio.gather(*(guess(number) for number in range(32)))
    assert sum(isinstance(each, WrongCredentials) for each in answers) == 5


async def test_after_a_hundred_failures_the_right_password_is_dead_until_reset(house: House) -> None:
    _, actor = await signed_in(house)
    subject = attempts.subject("account", EMAIL)
    async with house.db.system("test", write=True) as tx:
        values = {"subject": subject, "at": NOW, "since": NOW, "tries": 1, "failures": 100}
        await tx.run("insert into identity_attempt (subject, since, tries, failures, at) values"
                     " (:subject, :since, :tries, :failures, :at)", values)  # fmt: skip

    with pytest.raises(WrongCredentials):
        await house.sign_in(EMAIL, now=NOW + timedelta(days=40))
    del actor


async def test_an_outdated_hash_is_made_anew_at_sign_in(house: House) -> None:
    org = await house.organisation()
    await house.member(org, "owner", email=EMAIL)
    async with house.db.system("test", write=True) as tx:
        person = await people.by_email(tx, EMAIL)
        assert person is not None
        old = await Passwords(Cost(memory_kib=32, passes=1, lanes=1)).hash(PASSWORD)
        await people.change(tx, person.id, {"password_hash": old})

    await house.sign_in(EMAIL)
    async with house.db.system("test") as tx:
        again = await people.by_email(tx, EMAIL)
    assert again is not None
    assert not house.means.passwords.outdated(again.password_hash)


async def test_a_session_ends_when_idle_and_at_its_end(house: House) -> None:
    opened, _ = await signed_in(house)

    with pytest.raises(NotSignedIn):
        await house.who(cookie=opened.token, now=NOW + rules.IDLE)
    now = NOW
    while now + timedelta(minutes=29) < NOW + rules.LIFE:
        now += timedelta(minutes=29)
        assert await house.who(cookie=opened.token, now=now)
    with pytest.raises(NotSignedIn):
        await house.who(cookie=opened.token, now=NOW + rules.LIFE)


async def test_a_remembered_session_lasts_a_week(house: House) -> None:
    await signed_in(house)
    opened = await house.sign_in(EMAIL, remember=True)

    assert opened.expires_at == NOW + timedelta(days=7)
    assert await house.who(cookie=opened.token, now=NOW + timedelta(days=1))


async def test_only_the_hash_of_a_session_is_stored(house: House) -> None:
    opened, _ = await signed_in(house)
    async with house.db.system("test") as tx:
        rows = await tx.all("select s::text from identity_session s union all select p::text from identity_person p")

    assert all(opened.token not in row[0] and PASSWORD not in row[0] for row in rows)


async def test_a_revoked_session_stops_within_a_second_even_where_it_is_remembered(house: House) -> None:
    opened, actor = await signed_in(house)
    gate = Gate(house.means)

    async def ask(after_s: float) -> Actor:
        now = NOW + timedelta(seconds=after_s)
        cookie = f"{house.means.cookie}={opened.token}"
        return await gate(house.db, authorization=None, cookie=cookie, address="203.0.113.9", now=now)

    assert (await ask(0)).person == actor.person
    async with house.db.writing(actor) as tx:
        await service.end_others(tx, actor, session=None, now=NOW)
    assert await ask(0.9)  # answered from memory
    with pytest.raises(NotSignedIn):
        await ask(1.0)


async def test_changed_roles_count_within_a_second(house: House) -> None:
    opened, actor = await signed_in(house, "viewer")
    async with house.db.writing(actor) as tx:
        assert actor.person is not None
        await organisations.set_roles(tx, actor.person, ["platform"], now=NOW)

    assert (await house.who(cookie=opened.token)).may("model:train")


async def test_the_gate_forgets_the_oldest_answers_first(house: House) -> None:
    opened, _ = await signed_in(house)
    gate = Gate(house.means)
    for number in range(CACHED_MAX):
        gate._known[str(number)] = None  # type: ignore[assignment]
    cookie = f"{house.means.cookie}={opened.token}"
    await gate(house.db, authorization=None, cookie=cookie, address="203.0.113.9", now=NOW)

    assert len(gate._known) == CACHED_MAX
    assert "0" not in gate._known


@pytest.mark.parametrize(
    "cookie", ["", token(), "x" * 9_000, 'y" or 1=1', "é"], ids=["empty", "unknown", "huge", "sql", "accent"]
)
async def test_a_made_up_cookie_is_nobody(house: House, cookie: str) -> None:
    with pytest.raises(NotSignedIn):
        await house.who(cookie=cookie)


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "bearer x.y.z", "Bearer " + "x" * 9_000]
)
async def test_a_malformed_authorization_is_nobody_whatever_the_cookie(house: House, authorization: str) -> None:
    opened, _ = await signed_in(house)
    cookie = f"{house.means.cookie}={opened.token}"
    with pytest.raises(NotSignedIn):
        await house.gate(house.db, authorization=authorization, cookie=cookie, address="x", now=NOW)


def test_a_planted_second_cookie_makes_both_void() -> None:
    assert session_token("a=b; __Host-bursar=one", "__Host-bursar") == "one"
    assert session_token("__Host-bursar=one; __Host-bursar=two", "__Host-bursar") is None
    assert session_token("bursar=one", "__Host-bursar") is None
    assert session_token(None, "bursar") is None


async def test_step_up_renews_the_cookie_and_makes_dangerous_things_possible_for_five_minutes(house: House) -> None:
    opened, actor = await signed_in(house)
    later = NOW + timedelta(minutes=10)
    assert not (await house.who(cookie=opened.token, now=later)).may(FRESH)
    facts = {"session": opened.token, "code": None, "place": PLACE, "now": later}
    with pytest.raises(WrongCredentials):
        await service.step_up(house.db, house.means, actor, password="wrong", **facts)  # type: ignore[arg-type]

    renewed = await service.step_up(house.db, house.means, actor, password=PASSWORD, **facts)  # type: ignore[arg-type]

    with pytest.raises(NotSignedIn):
        await house.who(cookie=opened.token, now=later)
    assert (await house.who(cookie=renewed.token, now=later)).may(FRESH)
    assert not (await house.who(cookie=renewed.token, now=later + timedelta(minutes=5))).may(FRESH)
    assert renewed.expires_at == opened.expires_at


async def test_nobody_steps_up_with_the_session_of_another(house: House) -> None:
    opened, actor = await signed_in(house)
    await house.member(actor.org, "viewer", email="bob@example.com")
    bob = await house.who(cookie=(await house.sign_in("bob@example.com")).token)

    facts = {"password": PASSWORD, "code": None, "place": PLACE, "now": NOW}
    with pytest.raises(NotFound):
        await service.step_up(house.db, house.means, bob, session=opened.token, **facts)  # type: ignore[arg-type]


async def test_a_session_switches_to_another_own_organisation_and_to_no_other(house: House) -> None:
    opened, actor = await signed_in(house)
    second, foreign = await house.organisation("Second"), await house.organisation("Foreign")
    await house.member(second, "viewer", email=EMAIL)

    async def switch(org: UUID) -> Opened:
        return await service.switch(
            house.db,
            actor,
            session=opened.token,
            organisation=org,
            place=PLACE,
            now=NOW,
        )

    refused = []
    for org in (foreign, new_id()):
        with pytest.raises(NoOrganisation) as error:
            await switch(org)
        refused.append(str(error.value))
    assert refused[0] == refused[1]
    there = await switch(second)
    assert (await house.who(cookie=there.token)).org == second
    with pytest.raises(NotSignedIn):
        await house.who(cookie=opened.token)


async def test_signing_in_to_a_foreign_organisation_is_refused_like_an_unknown_one(house: House) -> None:
    await signed_in(house)
    foreign = await house.organisation("Foreign")

    for org in (foreign, new_id()):
        with pytest.raises(NoOrganisation):
            await house.sign_in(EMAIL, organisation=org)


async def test_somebody_ends_their_own_sessions_and_nobody_elses(house: House) -> None:
    opened, actor = await signed_in(house)
    bob = await house.member(actor.org, "admin", email="bob@example.com")
    async with house.db.writing(actor) as tx:
        (row,) = await tx.all(service.listing(tx, actor))
        with pytest.raises(NotFound):
            await service.end(tx, bob, id_=row.id, now=NOW)
        await service.end(tx, actor, id_=row.id, now=NOW)
    with pytest.raises(NotSignedIn):
        await house.who(cookie=opened.token)


async def test_signing_out_ends_the_present_session_only(house: House) -> None:
    first, actor = await signed_in(house)
    second = await house.sign_in(EMAIL)
    async with house.db.writing(actor) as tx:
        await service.end_current(tx, actor, session=first.token, now=NOW)
        await service.end_current(tx, actor, session="unknown", now=NOW)

    with pytest.raises(NotSignedIn):
        await house.who(cookie=first.token)
    assert await house.who(cookie=second.token)


async def test_an_administrator_signs_a_member_out(house: House) -> None:
    opened, actor = await signed_in(house)
    admin = await house.member(actor.org, "admin")
    viewer = await house.member(actor.org, "viewer")
    assert actor.person is not None
    async with house.db.writing(admin) as tx:
        with pytest.raises(NotAllowed):
            await service.end_of_member(tx, viewer, person=actor.person, now=NOW)
        with pytest.raises(NotFound):
            await service.end_of_member(tx, admin, person=new_id(), now=NOW)
        await service.end_of_member(tx, admin, person=actor.person, now=NOW)
    with pytest.raises(NotSignedIn):
        await house.who(cookie=opened.token)


async def test_the_fifty_first_session_ends_the_longest_unused(house: House) -> None:
    first, actor = await signed_in(house)
    for number in range(rules.SESSIONS_MAX):
        async with house.db.writing(actor) as tx:
            now = NOW + timedelta(seconds=number + 1)
            await service.open_session(tx, actor, remember=False, place=PLACE, fresh=False, now=now)

    with pytest.raises(NotSignedIn):
        await house.who(cookie=first.token)


def test_an_actor_without_fresh_proof_is_asked_for_it() -> None:
    with pytest.raises(StepUpNeeded):
        must_be_fresh(Actor(new_id(), "key:x", frozenset({"key:write"})))


async def test_the_local_owner_is_made_once_and_marked(db: Database) -> None:
    async def first_run() -> Actor:
        async with db.system("local owner", write=True) as tx:
            return await local_owner(tx, loopback=True, embedded=True, now=NOW)

    made = await asyncio.gather(*(first_run() for _ in range(4)))

    assert len({(each.org, each.person) for each in made}) == 1
    assert made[0].may("organisation:delete")
    async with db.system("test") as tx:
        row = await tx.one(
            "select p.is_local and o.is_local, password_hash from identity_person p, identity_organisation o"
        )
    assert row is not None
    assert tuple(row) == (True, None)


@pytest.mark.parametrize(("loopback", "embedded"), [(False, True), (True, False), (False, False)])
async def test_there_is_no_local_owner_on_another_address_or_database(
    db: Database, loopback: bool, embedded: bool
) -> None:
    async with db.system("local owner", write=True) as tx:
        with pytest.raises(Conflict, match="loopback with the embedded database only"):
            await local_owner(tx, loopback=loopback, embedded=embedded, now=NOW)


async def test_there_is_no_local_owner_where_people_have_signed_up(house: House) -> None:
    await house.sign_up(EMAIL)
    async with house.db.system("local owner", write=True) as tx:
        with pytest.raises(Conflict, match="people have signed up"):
            await local_owner(tx, loopback=True, embedded=True, now=NOW)
