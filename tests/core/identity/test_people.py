"""Signing up, passwords and second factors."""

import asyncio
from datetime import timedelta

import pyotp
import pytest

from bursar.core.identity.people import service
from bursar.core.identity.rules.passwords import PasswordTooCommon, PasswordTooShort
from bursar.core.identity.rules.sessions import SecondFactorNeeded, SpentToken, StepUpNeeded, WrongCredentials
from bursar.core.identity.store import people as store
from bursar.infra.crypto import token
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound, NotSignedIn, TooMany
from tests.core.identity.house import NOW, PASSWORD, PLACE, House

EMAIL = "ada@example.com"
OTHER = "Lagune und Trompete 7"


async def register(house: House, email: str, password: str = PASSWORD, name: str = "Ada") -> None:
    await service.register(
        house.db, house.means, email=email, password=password, name=name, organisation="Engines", place=PLACE, now=NOW
    )


async def test_somebody_signs_up_verifies_and_signs_in_as_owner(house: House) -> None:
    org, person = await house.sign_up("Ada@Example.com")

    opened = await house.sign_in(EMAIL)
    actor = await house.who(cookie=opened.token)
    assert (actor.org, actor.person) == (org, person)
    assert actor.may("organisation:delete")
    assert [action for action, _ in await house.trail(org)] == ["organisation.created", "session.opened"]


async def test_nothing_exists_before_the_address_is_verified(house: House) -> None:
    await register(house, EMAIL)

    with pytest.raises(WrongCredentials):
        await house.sign_in(EMAIL)


async def test_the_link_works_once_of_32_concurrent_uses(house: House) -> None:
    await register(house, EMAIL)
    link = await house.token(EMAIL)

    done = await asyncio.gather(
        *(service.verify(house.db, token_=link, request_id="r", now=NOW) for _ in range(32)), return_exceptions=True
    )
    assert sum(isinstance(each, tuple) for each in done) == 1
    assert sum(isinstance(each, SpentToken) for each in done) == 31


async def test_two_links_for_one_address_make_one_person(house: House) -> None:
    await register(house, EMAIL)
    first = await house.token(EMAIL)
    await register(house, EMAIL)
    second = await house.token(EMAIL)
    await service.verify(house.db, token_=first, request_id="r", now=NOW)

    with pytest.raises(SpentToken):
        await service.verify(house.db, token_=second, request_id="r", now=NOW)


async def test_the_link_works_for_24_hours(house: House) -> None:
    await register(house, EMAIL)
    link = await house.token(EMAIL)

    with pytest.raises(SpentToken):
        await service.verify(house.db, token_=link, request_id="r", now=NOW + timedelta(hours=24))
    assert await service.verify(house.db, token_=link, request_id="r", now=NOW + timedelta(hours=23, minutes=59))


async def test_an_unknown_link_is_refused_like_a_used_one(house: House) -> None:
    with pytest.raises(SpentToken):
        await service.verify(house.db, token_=token(), request_id="r", now=NOW)


async def test_a_known_address_gets_the_same_answer_and_another_mail(house: House) -> None:
    await house.sign_up(EMAIL)

    await register(house, EMAIL, password=OTHER)

    mail = (await house.mails(EMAIL))[-1]
    assert mail.template == "known"
    assert (await house.sign_in(EMAIL)).token  # the password is the old one


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"email": "nobody"}, Invalid),
        ({"password": "short"}, PasswordTooShort),
        ({"password": "passwordpassword"}, PasswordTooCommon),
        ({"password": "engines engines 1"}, PasswordTooCommon),
        ({"name": "\n"}, Invalid),
    ],
)
async def test_what_cannot_be_registered_is_refused(house: House, change: dict[str, str], refusal: type) -> None:
    with pytest.raises(refusal):
        await register(house, **{"email": EMAIL, **change})


async def test_signing_up_over_and_over_has_to_wait(house: House) -> None:
    for _ in range(5):
        await register(house, EMAIL)
    with pytest.raises(TooMany):
        await register(house, EMAIL)


async def test_a_password_is_reset_by_mail_and_everything_is_signed_out(house: House) -> None:
    org, _ = await house.sign_up(EMAIL)
    opened = await house.sign_in(EMAIL)
    await service.ask_reset(house.db, house.means, email=EMAIL, place=PLACE, now=NOW)
    link = await house.token(EMAIL)

    await service.reset(house.db, house.means, token_=link, password=OTHER, request_id="r", now=NOW)

    with pytest.raises(NotSignedIn):
        await house.who(cookie=opened.token)
    with pytest.raises(WrongCredentials):
        await house.sign_in(EMAIL)
    assert (await house.sign_in(EMAIL, password=OTHER)).token
    assert ("person.password_reset" in dict(await house.trail(org))) is True
    assert (await house.mails(EMAIL))[-1].template == "password"


async def test_a_reset_link_works_once_for_an_hour_and_ends_its_sisters(house: House) -> None:
    await house.sign_up(EMAIL)
    links = []
    for _ in range(2):
        await service.ask_reset(house.db, house.means, email=EMAIL, place=PLACE, now=NOW)
        links.append(await house.token(EMAIL))

    async def use(link: str, minutes: int = 0) -> None:
        now = NOW + timedelta(minutes=minutes)
        await service.reset(house.db, house.means, token_=link, password=OTHER, request_id="r", now=now)

    with pytest.raises(SpentToken):
        await use(links[0], minutes=60)
    done = await asyncio.gather(*(use(links[1]) for _ in range(32)), return_exceptions=True)
    assert sum(each is None for each in done) == 1
    with pytest.raises(SpentToken):
        await use(links[0])


async def test_a_refused_new_password_leaves_the_link_usable(house: House) -> None:
    await house.sign_up(EMAIL)
    await service.ask_reset(house.db, house.means, email=EMAIL, place=PLACE, now=NOW)
    link = await house.token(EMAIL)
    with pytest.raises(PasswordTooShort):
        await service.reset(house.db, house.means, token_=link, password="short", request_id="r", now=NOW)

    await service.reset(house.db, house.means, token_=link, password=OTHER, request_id="r", now=NOW)
    assert (await house.sign_in(EMAIL, password=OTHER)).token


async def test_asking_to_reset_an_unknown_address_is_answered_the_same(house: House) -> None:
    await service.ask_reset(house.db, house.means, email="nobody@example.com", place=PLACE, now=NOW)

    assert [mail.template for mail in await house.mails("nobody@example.com")] == ["unknown"]


async def test_a_password_is_changed_with_the_present_one(house: House) -> None:
    await house.sign_up(EMAIL)
    opened = await house.sign_in(EMAIL)
    actor = await house.who(cookie=opened.token)

    async def change(current: str) -> None:
        facts = {"current": current, "code": None, "new": OTHER, "place": PLACE, "now": NOW}
        await service.change_password(house.db, house.means, actor, **facts)  # type: ignore[arg-type]

    with pytest.raises(WrongCredentials):
        await change("not the password")
    await change(PASSWORD)
    with pytest.raises(NotSignedIn):
        await house.who(cookie=opened.token)
    assert (await house.sign_in(EMAIL, password=OTHER)).token


async def with_second_factor(house: House) -> tuple[Actor, pyotp.TOTP, list[str]]:
    await house.sign_up(EMAIL)
    actor = await house.who(cookie=(await house.sign_in(EMAIL)).token)
    draft = await service.draft_second_factor(house.db, house.means, actor, now=NOW)
    totp = pyotp.TOTP(draft.secret)
    codes = await service.confirm_second_factor(house.db, house.means, actor, code=totp.at(NOW), now=NOW)
    return actor, totp, codes


async def test_a_second_factor_is_asked_for_after_the_password(house: House) -> None:
    _, totp, codes = await with_second_factor(house)
    later = NOW + timedelta(minutes=1)

    assert len(set(codes)) == 10
    with pytest.raises(SecondFactorNeeded):
        await house.sign_in(EMAIL, now=later)
    with pytest.raises(WrongCredentials):
        await house.sign_in(EMAIL, password="not the password", now=later)
    with pytest.raises(WrongCredentials):
        await house.sign_in(EMAIL, code="000000", now=later)
    assert (await house.sign_in(EMAIL, code=totp.at(later), now=later)).token


async def test_a_code_works_once_of_32_concurrent_uses(house: House) -> None:
    _, totp, _ = await with_second_factor(house)
    later = NOW + timedelta(minutes=1)
    code = totp.at(later)
    async with house.db.system("test") as tx:
        person = await store.by_email(tx, EMAIL)
    assert person is not None

    async def use() -> bool:
        async with house.db.system("test", write=True) as tx:
            return await store.use_step(tx, person.id, int(later.timestamp()) // 30)

    assert sum(await asyncio.gather(*(use() for _ in range(32)))) == 1
    with pytest.raises(WrongCredentials):
        await house.sign_in(EMAIL, code=code, now=later)
    with pytest.raises(WrongCredentials):  # nor does an older one
        await house.sign_in(EMAIL, code=totp.at(later - timedelta(seconds=30)), now=later)


async def test_a_recovery_code_works_once(house: House) -> None:
    _, _, codes = await with_second_factor(house)

    assert (await house.sign_in(EMAIL, code=codes[3].lower())).token
    with pytest.raises(WrongCredentials):
        await house.sign_in(EMAIL, code=codes[3])


async def test_new_recovery_codes_end_the_old_ones(house: House) -> None:
    actor, _, old = await with_second_factor(house)

    new = await service.new_recovery_codes(house.db, actor, now=NOW)

    with pytest.raises(WrongCredentials):
        await house.sign_in(EMAIL, code=old[0])
    assert (await house.sign_in(EMAIL, code=new[0])).token


async def test_a_second_factor_is_switched_off_with_password_and_code(house: House) -> None:
    actor, totp, _ = await with_second_factor(house)
    later = NOW + timedelta(minutes=1)

    async def remove(password: str, code: str) -> None:
        facts = {"password": password, "code": code, "place": PLACE, "now": later}
        await service.remove_second_factor(house.db, house.means, actor, **facts)  # type: ignore[arg-type]

    with pytest.raises(WrongCredentials):
        await remove(PASSWORD, "000000")
    await remove(PASSWORD, totp.at(later))
    assert (await house.sign_in(EMAIL, now=later)).token


async def test_a_short_password_beside_a_second_factor_keeps_it_on(house: House) -> None:
    actor, totp, _ = await with_second_factor(house)
    first, second = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    await service.change_password(
        house.db, house.means, actor, current=PASSWORD, code=totp.at(first), new="Kanal48x", place=PLACE, now=first
    )

    with pytest.raises(PasswordTooShort):
        await service.remove_second_factor(
            house.db, house.means, actor, password="Kanal48x", code=totp.at(second), place=PLACE, now=second
        )


async def test_switching_a_second_factor_on_takes_a_fresh_proof_and_a_right_code(house: House) -> None:
    await house.sign_up(EMAIL)
    actor = await house.who(cookie=(await house.sign_in(EMAIL)).token)
    stale = Actor(actor.org, actor.name, actor.rights - {"step_up:fresh"}, actor.person)

    with pytest.raises(StepUpNeeded):
        await service.draft_second_factor(house.db, house.means, stale, now=NOW)
    with pytest.raises(Conflict, match="no second factor to confirm"):
        await service.confirm_second_factor(house.db, house.means, actor, code="123456", now=NOW)
    with pytest.raises(Conflict, match="no second factor is on"):
        await service.new_recovery_codes(house.db, actor, now=NOW)
    await service.draft_second_factor(house.db, house.means, actor, now=NOW)
    with pytest.raises(WrongCredentials):
        await service.confirm_second_factor(house.db, house.means, actor, code="000000", now=NOW)
    assert (await house.sign_in(EMAIL)).token  # it is not on yet


async def test_somebody_changes_their_name_and_a_key_has_none(house: House) -> None:
    org, _ = await house.sign_up(EMAIL)
    actor = await house.who(cookie=(await house.sign_in(EMAIL)).token)

    await service.rename(house.db, actor, name="Ada Lovelace", now=NOW)

    assert ("person.renamed", actor.name) in await house.trail(org)
    with pytest.raises(NotFound):
        await service.rename(house.db, Actor(org, "key:x"), name="x", now=NOW)


async def test_the_console_makes_the_first_person_and_a_reset_link(house: House) -> None:
    facts = {"email": EMAIL, "password": PASSWORD, "name": "Ada", "organisation": "Engines"}
    org, person = await service.enrol(house.db, house.means, **facts, now=NOW)
    opened = await house.sign_in(EMAIL)
    with pytest.raises(Conflict, match="has an account"):
        await service.enrol(house.db, house.means, **facts, now=NOW)
    with pytest.raises(NotFound):
        await service.reset_link(house.db, house.means, email="nobody@example.com", now=NOW)
    link = await service.reset_link(house.db, house.means, email=EMAIL, now=NOW)
    await service.reset(house.db, house.means, token_=link.partition("#")[2], password=OTHER, request_id="r", now=NOW)

    assert (opened.org, opened.person) == (org, person)
    assert (await house.sign_in(EMAIL, password=OTHER)).token
