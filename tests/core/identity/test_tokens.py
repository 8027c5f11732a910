"""Access tokens and refresh tokens of programs, and attacks on both."""

import asyncio
import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from bursar.core.identity.rules.claims import ACCESS_LIFE, REFRESH_LIFE
from bursar.core.identity.rules.rights import FRESH
from bursar.core.identity.rules.sessions import WrongCredentials
from bursar.core.identity.tokens import service
from bursar.core.identity.tokens.service import Issued, RefreshSpent
from bursar.infra import jwt
from bursar.infra.crypto import Keyring, token
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotFound, NotSignedIn
from tests.core.identity.house import NOW, PASSWORD, PLACE, House, cheap_means

EMAIL = "ada@example.com"


async def logged_in(house: House, **facts: Any) -> tuple[Issued, Actor]:
    org = await house.organisation()
    actor = await house.member(org, "finance", email=EMAIL)
    wanted = {"password": PASSWORD, "code": None, "organisation": None, "label": "script", "place": PLACE, "now": NOW}
    return await service.log_in(house.db, house.means, email=EMAIL, **{**wanted, **facts}), actor


async def renew(house: House, refresh: str, *, now: Any = NOW) -> Issued:
    return await service.refresh(house.db, house.means, token_=refresh, place=PLACE, now=now)


async def test_a_program_logs_in_and_acts_as_its_person(house: House) -> None:
    issued, actor = await logged_in(house)

    found = await house.who(bearer=issued.access)
    assert (found.org, found.person, found.may("ledger:close"), found.may(FRESH)) == (
        actor.org,
        actor.person,
        True,
        True,
    )
    assert not (await house.who(bearer=issued.access, now=NOW + timedelta(minutes=6))).may(FRESH)


async def test_a_wrong_password_gets_no_tokens(house: House) -> None:
    with pytest.raises(WrongCredentials):
        await logged_in(house, password="wrong")


@pytest.mark.parametrize(
    ("minutes", "lives"), [(0, True), (15, True), (16, False), (20, False), (-1, False), (-5, False)]
)
async def test_an_access_token_lives_a_quarter_of_an_hour_whatever_the_clock(
    house: House, minutes: int, lives: bool
) -> None:
    issued, _ = await logged_in(house)
    now = NOW + timedelta(minutes=minutes)
    if lives:
        assert await house.who(bearer=issued.access, now=now)
    else:
        with pytest.raises(NotSignedIn):
            await house.who(bearer=issued.access, now=now)


def _retold(access: str, **change: Any) -> str:
    """Return the token with other claims under the old signature."""
    head, body, signature = access.split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=="))
    made = base64.urlsafe_b64encode(json.dumps({**said, **change}).encode()).decode().rstrip("=")
    return f"{head}.{made}.{signature}"


async def test_forged_tokens_are_nobody(house: House) -> None:
    issued, actor = await logged_in(house)
    said = jwt.read(issued.access, {s.kid: s.public for s in house.means.keyring.signers("access").values()})
    assert said is not None
    head, body, _ = issued.access.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').decode().rstrip("=")
    signer = house.means.keyring.signer("access")
    forged = [
        _retold(issued.access, exp=said["exp"] + 3600),
        _retold(issued.access, org=str(actor.org)[::-1]),
        f"{none}.{body}.",
        f"{head}.{body}.",
        jwt.issue(Keyring(["z" * 40]).signer("access"), said),
        jwt.issue(house.means.keyring.signer("audit"), said),
        jwt.issue(signer, {**said, "aud": "https://elsewhere.example/v1"}),
        jwt.issue(signer, {**said, "iss": "https://elsewhere.example"}),
        jwt.issue(signer, {**said, "sid": str(actor.org)}),
        jwt.issue(signer, {**said, "sub": str(actor.org)}),
        jwt.issue(signer, {**said, "exp": said["exp"] + 86_400}),
        issued.refresh,
    ]
    for each in forged:
        with pytest.raises(NotSignedIn):
            await house.who(bearer=each)


async def test_a_token_of_another_installation_with_the_same_key_is_nobody(house: House) -> None:
    issued, _ = await logged_in(house)
    elsewhere = House(house.db, cheap_means(url="https://other.example"))

    with pytest.raises(NotSignedIn):
        await elsewhere.who(bearer=issued.access)
    elsewhere.means.passwords.close()


async def test_a_refresh_token_is_traded_once_and_the_log_in_goes_on(house: House) -> None:
    first, actor = await logged_in(house)
    later = NOW + timedelta(minutes=14)
    second = await renew(house, first.refresh, now=later)

    assert second.family == first.family
    assert (await house.who(bearer=second.access, now=later)).person == actor.person
    assert not (await house.who(bearer=second.access, now=later)).may(FRESH)
    assert (await renew(house, second.refresh, now=later)).refresh not in {first.refresh, second.refresh}


async def test_a_replayed_refresh_token_ends_the_whole_log_in(house: House) -> None:
    first, actor = await logged_in(house)
    second = await renew(house, first.refresh)

    with pytest.raises(RefreshSpent):
        await renew(house, first.refresh)

    with pytest.raises(RefreshSpent):
        await renew(house, second.refresh)
    for access in (first.access, second.access):
        with pytest.raises(NotSignedIn):
            await house.who(bearer=access)
    assert ("log_in.theft_found", actor.name) in await house.trail(actor.org)


async def test_of_32_concurrent_renewals_one_succeeds_and_the_log_in_ends(house: House) -> None:
    first, _ = await logged_in(house)

    done = await asyncio.gather(*(renew(house, first.refresh) for _ in range(32)), return_exceptions=True)

    (second,) = [each for each in done if isinstance(each, Issued)]
    assert sum(isinstance(each, RefreshSpent) for each in done) == 31
    with pytest.raises(RefreshSpent):
        await renew(house, second.refresh)


async def test_a_log_in_ends_after_thirty_days(house: House) -> None:
    first, _ = await logged_in(house)
    second = await renew(house, first.refresh, now=NOW + REFRESH_LIFE - timedelta(minutes=1))

    with pytest.raises(RefreshSpent):
        await renew(house, second.refresh, now=NOW + REFRESH_LIFE)
    with pytest.raises(NotSignedIn):
        await house.who(bearer=second.access, now=NOW + REFRESH_LIFE + ACCESS_LIFE / 2)


async def test_somebody_who_was_removed_renews_nothing(house: House) -> None:
    first, actor = await logged_in(house)
    assert actor.person is not None
    async with house.db.writing(actor) as tx:
        await tx.run("delete from identity_membership where person = :p", {"p": actor.person})

    with pytest.raises(RefreshSpent):
        await renew(house, first.refresh)
    with pytest.raises(NotSignedIn):
        await house.who(bearer=first.access)


async def test_revoking_ends_the_log_in_and_an_unknown_token_is_answered_alike(house: House) -> None:
    first, _ = await logged_in(house)

    await service.revoke(house.db, token_=token(), place=PLACE, now=NOW)
    await service.revoke(house.db, token_=first.refresh, place=PLACE, now=NOW)
    await service.revoke(house.db, token_=first.refresh, place=PLACE, now=NOW)

    with pytest.raises(NotSignedIn):
        await house.who(bearer=first.access)
    with pytest.raises(RefreshSpent):
        await renew(house, token())


async def test_log_ins_are_listed_and_ended_by_their_person_only(house: House) -> None:
    first, actor = await logged_in(house)
    bob = await house.member(actor.org, "owner")
    async with house.db.writing(actor) as tx:
        (row,) = await tx.all(service.listing(tx, actor, now=NOW))
        assert (row.label, row.address) == ("script", PLACE.address)
        with pytest.raises(NotFound):
            await service.end(tx, bob, id_=row.id, now=NOW)
        with pytest.raises(NotFound):
            service.listing(tx, Actor(actor.org, "key:x"), now=NOW)
        await service.end(tx, actor, id_=row.id, now=NOW)
    with pytest.raises(NotSignedIn):
        await house.who(bearer=first.access)


def test_public_keys_are_published_and_nothing_else() -> None:
    means = cheap_means()
    (key,) = service.public_keys(means)

    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}
    means.passwords.close()
