"""The decisions of identity: rights, passwords, delays, codes, claims, names and networks."""

import ipaddress
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.core.identity.rules import attempts, claims, codes, passwords, rights, sessions
from bursar.core.identity.rules.passwords import PasswordTooCommon, PasswordTooLong, PasswordTooShort
from bursar.infra.crypto import blocked_passwords
from bursar.kernel.errors import Invalid, Refusal
from tests.core.identity.make_blocklist import PLACE, blocklist

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
BLOCKED = blocked_passwords()
NAMES = ("ada.lovelace@example.com", "Ada Lovelace", "Analytical Engines")


def check(password: str, *, second_factor: bool = False) -> str:
    return passwords.check(password, second_factor=second_factor, blocked=BLOCKED, names=NAMES)


def test_every_role_is_made_of_known_rights_and_only_an_owner_deletes() -> None:
    assert all(role <= rights.RIGHTS for role in rights.ROLES.values())
    assert [name for name, held in rights.ROLES.items() if "organisation:delete" in held] == ["owner"]
    assert rights.FRESH not in rights.RIGHTS


def test_every_right_that_the_source_asks_for_is_in_the_table() -> None:
    source = Path(rights.__file__).resolve().parents[3]
    asked = {
        right
        for path in source.rglob("*.py")
        for right in re.findall(r"""(?:must\(|right=|may\()"([a-z_]+:[a-z_]+)\"""", path.read_text(encoding="utf-8"))
    }

    assert asked
    assert asked <= rights.RIGHTS


def test_roles_of_another_version_have_no_rights() -> None:
    assert rights.rights_of(["emperor"]) == frozenset()
    assert rights.rights_of(["viewer", "supplier"]) == rights.ROLES["viewer"] | rights.ROLES["supplier"]


@pytest.mark.parametrize("role", ["auditor", "viewer"])
def test_readers_change_nothing(role: str) -> None:
    changing = {right for right in rights.ROLES[role] if right.split(":")[1] not in {"read", "export"}}

    assert changing == set()


def test_a_supplier_sees_nothing_of_the_money() -> None:
    assert {right.split(":")[0] for right in rights.ROLES["supplier"]} == {"sourcing", "organisation"}


@pytest.mark.parametrize(
    ("own", "before", "after", "allowed"),
    [
        (["admin"], ["viewer"], ["admin"], True),
        (["admin"], ["viewer"], ["owner"], False),
        (["admin"], ["owner"], ["viewer"], False),
        (["owner"], ["owner"], ["viewer"], True),
        ([], ["viewer"], ["owner"], False),
    ],
)
def test_only_an_owner_makes_or_unmakes_an_owner(
    own: list[str], before: list[str], after: list[str], allowed: bool
) -> None:
    assert rights.may_assign(own, before, after) is allowed


def test_roles_and_scopes_are_checked() -> None:
    held = frozenset({"cost:read", "budget:read"})

    assert rights.check_roles(["viewer", "finance", "viewer"]) == ("finance", "viewer")
    assert rights.check_scopes(["cost:read"], held) == ("cost:read",)
    for scopes in ([], ["cost:write-all"], ["budget:write"], [rights.FRESH]):
        with pytest.raises(Invalid):
            rights.check_scopes(scopes, held)
    for roles in ([], ["emperor"]):
        with pytest.raises(Invalid):
            rights.check_roles(roles)


@pytest.mark.parametrize(
    "good",
    [
        "Tr0mbone-Lagune-48!",
        "the rain in spain stays",
        "zqxjkvbpmwfgy42",
        "ゆきがしんしんとふりつもるよるに",
        "x" * 5 + "Lagune und Trompete",
    ],
)
def test_good_passwords_are_taken(good: str) -> None:
    assert check(good)


@pytest.mark.parametrize(
    "common",
    [
        "passwordpassword",
        "PasswordPassword",
        "p4ssw0rdp4ssw0rd",
        "P@ssw0rd12345678",
        "!!!!password!!!!",
        "aaaaaaaaaaaaaaa",
        "abababababababab",
        "abcdefghijklmnop",
        "123456789012345",
        "098765432109876",
        "qwertyuiopasdfgh",
        "poiuytrewqpoiuytrewq",
        "correcthorsebatterystaple",
        "correct horse battery staple",
        "letmeinletmeinletmein",
        "ada lovelace ada",
        "adalovelace2026",
        "AnalyticalEngines1",
        "ada.lovelace@example.com",
        "bursarbursarbursar",
        "bursar1234567890",
        "dragonmonkey2024",
        "password1234567890",
        "11111password11111",
    ],
)
def test_passwords_that_anybody_guesses_are_refused(common: str) -> None:
    with pytest.raises(PasswordTooCommon):
        check(common, second_factor=True)


def test_length_counts_characters_after_normalisation() -> None:
    assert check("e\u0301" * 3 + "Trompete am Kanal") == "\u00e9" * 3 + "Trompete am Kanal"
    with pytest.raises(PasswordTooShort, match="at least 15 characters"):
        check("Trompete4Lagun")
    with pytest.raises(PasswordTooShort, match="at least 8 characters"):
        check("Trmpt4L", second_factor=True)
    assert check("Trmpt4Lx", second_factor=True)
    assert check("Trompete " * 14 + "xy")
    with pytest.raises(PasswordTooLong, match="at most 128"):
        check("Trompete " * 14 + "xyz")


@given(st.text(min_size=15, max_size=128))
def test_any_text_is_judged_without_error(text: str) -> None:
    try:
        taken = check(text)
    except (PasswordTooCommon, PasswordTooLong, PasswordTooShort):
        return
    assert taken == passwords.normal(text)


def test_no_rule_of_composition_is_applied() -> None:
    assert check("kvartsmolnfjordtank")  # small letters only


def test_the_bundled_list_is_what_its_maker_makes() -> None:
    assert PLACE.read_text(encoding="utf-8").splitlines()[1:] == blocklist()


def test_failures_are_delayed_twice_as_long_each_time_up_to_a_limit() -> None:
    waits = [attempts.delay(failures).total_seconds() / 60 for failures in range(12)]

    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 15, 15, 15]


@given(st.lists(st.integers(0, 90), min_size=1, max_size=60))
def test_no_more_than_five_tries_are_answered_in_any_minute(gaps_s: list[int]) -> None:
    now, tries, answered = NOW, None, []
    for gap in gaps_s:
        now += timedelta(seconds=gap)
        if not attempts.wait(tries, tries_max=attempts.ACCOUNT_TRIES_MAX, doubling=True, now=now):
            tries = attempts.counted(tries, now=now)
            answered.append(now)
    for at in answered:
        assert sum(at <= other < at + timedelta(minutes=1) for other in answered) <= attempts.ACCOUNT_TRIES_MAX + 1


def test_one_address_waits_for_the_end_of_its_minute_and_no_longer() -> None:
    tries = attempts.Tries(NOW, 20, 20, NOW + timedelta(seconds=50))

    def wait(seconds: int) -> timedelta:
        return attempts.wait(tries, tries_max=20, doubling=False, now=NOW + timedelta(seconds=seconds))

    assert (wait(50), wait(60)) == (timedelta(seconds=10), timedelta(0))


def test_failures_are_forgotten_after_a_quiet_day_but_not_the_last_straw() -> None:
    tries = attempts.Tries(NOW, 1, 6, NOW)
    dead = attempts.Tries(NOW, 1, attempts.FAILURES_MAX, NOW)
    later = NOW + timedelta(days=2)

    assert attempts.counted(None, now=NOW) == attempts.Tries(NOW, 1, 1, NOW)
    assert attempts.counted(tries, now=later).failures == 1
    assert attempts.counted(dead, now=later).failures == attempts.FAILURES_MAX + 1


def test_the_code_of_a_step_and_its_neighbours_is_known() -> None:
    secret = codes.secret(bytes(range(20)))
    totp = pyotp.TOTP(secret)
    step = codes.step_of(NOW)

    assert codes.matching_step(secret, totp.at(NOW), now=NOW) == step
    assert codes.matching_step(secret, totp.at(NOW), now=NOW + timedelta(seconds=30)) == step
    assert codes.matching_step(secret, totp.at(NOW), now=NOW - timedelta(seconds=30)) == step
    assert codes.matching_step(secret, totp.at(NOW), now=NOW + timedelta(minutes=5)) is None
    assert codes.matching_step(secret, totp.at(NOW), now=NOW - timedelta(minutes=5)) is None
    for wrong in ("", "12345", "1234567", "abcdef", "１２３４５６", "-12345"):
        assert codes.matching_step(secret, wrong, now=NOW) is None
    assert pyotp.parse_uri(codes.address(secret, email="a+b@example.com")).secret == secret


def test_recovery_codes_are_read_as_people_type_them() -> None:
    (code,) = codes.recovery_codes([bytes(range(15))])

    assert len(code) == 27
    assert codes.plain_recovery(code.lower()) == codes.plain_recovery(code.replace("-", " ")) == code.replace("-", "")
    assert codes.plain_recovery(code[:-1]) is None


ONE = claims.Claims(UUID(int=1), UUID(int=2), UUID(int=3), NOW, NOW + claims.ACCESS_LIFE)
SAID = claims.written(ONE, url="https://b.example", serial="s", now=NOW)


@pytest.mark.parametrize(
    ("seconds", "lives"),
    [(0, True), (-30, True), (-31, False), (-300, False), (900, True), (929, True), (930, False), (1200, False)],
)
def test_a_token_lives_from_issue_to_expiry_and_thirty_seconds_either_side(seconds: int, lives: bool) -> None:
    found = claims.believed(SAID, url="https://b.example", now=NOW + timedelta(seconds=seconds))

    assert (found == ONE) is lives


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"},
        {"aud": "https://b.example"},
        {"aud": ["https://b.example/v1"]},
        {"aud": None},
        {"sub": "not an id"},
        {"sub": 5},
        {"org": None},
        {"sid": "x"},
        {"exp": "2000000000"},
        {"exp": 1.5},
        {"exp": True},
        {"exp": 2**200},
        {"exp": SAID["exp"] + 86_400},
        {"iat": -1},
        {"auth_time": SAID["iat"] + 3600},
    ],
)
def test_a_token_that_says_something_else_is_not_believed(change: dict[str, Any]) -> None:
    assert claims.believed({**SAID, **change}, url="https://b.example", now=NOW) is None


@pytest.mark.parametrize("missing", ["iss", "aud", "sub", "org", "sid", "iat", "exp", "auth_time"])
def test_a_token_that_leaves_something_out_is_not_believed(missing: str) -> None:
    said = {name: value for name, value in SAID.items() if name != missing}

    assert claims.believed(said, url="https://b.example", now=NOW) is None


def test_addresses_and_names_are_normalised_or_refused() -> None:
    assert sessions.check_email("Ada.Lovelace@EXAMPLE.com") == "ada.lovelace@example.com"
    assert sessions.check_name("  Ada e\u0301 ") == "Ada \u00e9"
    for email in ("", "ada", "ada@", "a@b@c.example", "ada@example.com\nbcc: x@example.com", "ada\0@example.com"):
        with pytest.raises(Invalid):
            sessions.check_email(email)
    for name in ("", "  ", "Ada\nBcc", "Ada\0", "see https://evil.example", "WWW.evil.example", "\u202eadA"):
        with pytest.raises(Invalid):
            sessions.check_name(name)


def test_networks_are_normalised_and_matched() -> None:
    found = sessions.check_networks([" 192.0.2.7 ", "192.0.2.0/24", "2001:db8::/32", "192.0.2.7"])
    networks = [ipaddress.ip_network(each) for each in found]

    assert found == ("192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32")
    assert sessions.within("192.0.2.200", networks)
    assert sessions.within("::ffff:192.0.2.200", networks)
    assert sessions.within("2001:db8::1", networks)
    assert not sessions.within("198.51.100.1", networks)
    assert not sessions.within("unix", networks)
    for bad in (["192.0.2.1/24"], ["nowhere"], [f"10.0.0.{n}" for n in range(51)]):
        with pytest.raises(Invalid):
            sessions.check_networks(bad)
    assert [sessions.is_loopback(each) for each in ("127.0.0.1", "::1", "10.0.0.1", "x")] == [True, True, False, False]


@pytest.mark.parametrize(
    "refusal",
    [
        sessions.StepUpNeeded(),
        sessions.SecondFactorNeeded(),
        sessions.WrongCredentials(),
        sessions.SpentToken(),
        PasswordTooCommon(),
    ],
)
def test_every_refusal_says_what_to_do_and_no_secret(refusal: Refusal) -> None:
    assert str(refusal).endswith(".")
    assert refusal.facts == {}


def test_a_remembered_session_lasts_longer() -> None:
    assert sessions.life(remembered=False, now=NOW) == (NOW + timedelta(hours=12), timedelta(minutes=30))
    assert sessions.life(remembered=True, now=NOW) == (NOW + timedelta(days=7), timedelta(days=2))


def test_fresh_means_within_five_minutes() -> None:
    assert sessions.is_fresh(NOW, NOW)
    assert sessions.is_fresh(NOW, NOW + timedelta(seconds=299))
    assert not sessions.is_fresh(NOW, NOW + timedelta(seconds=300))
    assert not sessions.is_fresh(NOW, NOW - timedelta(seconds=1))
    assert not sessions.is_fresh(None, NOW)


@given(st.text(max_size=300))
def test_any_text_as_address_name_or_network_is_taken_or_refused(text: str) -> None:
    for check_it in (sessions.check_email, sessions.check_name, lambda each: sessions.check_networks([each])):
        with suppress(Invalid):
            assert check_it(text)
