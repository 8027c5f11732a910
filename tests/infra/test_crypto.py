"""Secrets: tokens, password hashes, sealed values, signing keys, check digits, access tokens."""

import asyncio
import base64
import json
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.infra import crypto, jwt
from bursar.infra.crypto import BadSeal, Cost, Keyring, Passwords, WeakSecret
from bursar.kernel.errors import Unavailable

CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
ONE, TWO = "one-secret-" + "x" * 32, "two-secret-" + "y" * 32


def test_tokens_are_256_bits_and_differ() -> None:
    made = {crypto.token() for _ in range(1_000)}

    assert len(made) == 1_000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", each) for each in made)
    assert len(crypto.digest("x")) == 32


async def test_passwords_verify_their_own_hash_and_no_other() -> None:
    passwords = Passwords(CHEAP)
    stored = await passwords.hash("correct horse battery")

    assert await passwords.verify(stored, "correct horse battery")
    assert not await passwords.verify(stored, "correct horse batterx")
    assert not await passwords.verify(None, "correct horse battery")
    assert not await passwords.verify("not a hash", "correct horse battery")
    assert stored != await passwords.hash("correct horse battery")
    passwords.close()


async def test_the_default_cost_is_64_mib_3_passes_4_lanes() -> None:
    passwords = Passwords()
    stored = await passwords.hash("x")

    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert not passwords.outdated(stored)
    cheap = Passwords(CHEAP)
    assert passwords.outdated(await cheap.hash("x"))
    passwords.close()
    cheap.close()


async def test_an_unknown_name_costs_what_a_known_one_costs() -> None:
    passwords = Passwords()
    stored = await passwords.hash("some password")

    async def cpu_s(hashed: str | None) -> float:
        start = time.process_time()
        await passwords.verify(hashed, "another password")
        return time.process_time() - start

    known = sorted([await cpu_s(stored) for _ in range(7)])[3]
    unknown = sorted([await cpu_s(None) for _ in range(7)])[3]
    assert 0.6 < unknown / known < 1.7
    passwords.close()


class Slow:
    """Counts how many computations run at once."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.lock = threading.Lock()

    def hash(self, _: str) -> str:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.02)
        with self.lock:
            self.running -= 1
        return ""


async def test_at_most_two_hashes_are_computed_at_once_and_the_queue_is_bounded() -> None:
    passwords, slow = Passwords(CHEAP, waiting_max=6), Slow()
    passwords._hasher = slow  # type: ignore[assignment]

    done = await asyncio.gather(*(passwords.hash("x") for _ in range(10)), return_exceptions=True)

    assert slow.most == crypto.PASSWORD_CHECKS_AT_ONCE
    assert sum(isinstance(each, Unavailable) for each in done) == 4
    passwords.close()


def test_sealed_values_open_at_their_place_only() -> None:
    keyring = Keyring([ONE])
    sealed = keyring.seal(b"pass phrase", place="org:bank")

    assert keyring.open(sealed, place="org:bank") == b"pass phrase"
    assert sealed != keyring.seal(b"pass phrase", place="org:bank")
    with pytest.raises(BadSeal, match="altered or belongs elsewhere"):
        keyring.open(sealed, place="other:bank")
    with pytest.raises(BadSeal, match="not configured"):
        Keyring([TWO]).open(sealed, place="org:bank")


@given(st.binary(max_size=64), st.integers(0, 2**16))
def test_any_altered_byte_breaks_the_seal(plain: bytes, at: int) -> None:
    keyring = Keyring([ONE])
    sealed = bytearray(keyring.seal(plain, place="p"))
    sealed[at % len(sealed)] ^= 1

    with pytest.raises(BadSeal):
        keyring.open(bytes(sealed), place="p")


def test_an_older_master_secret_still_opens_and_is_told_to_be_stale() -> None:
    sealed = Keyring([ONE]).seal(b"x", place="p")
    both = Keyring([TWO, ONE])

    assert both.open(sealed, place="p") == b"x"
    assert both.stale(sealed)
    assert not both.stale(both.seal(b"x", place="p"))
    assert set(both.signers("audit")) == {both.signer("audit").kid, Keyring([ONE]).signer("audit").kid}


@pytest.mark.parametrize("masters", [[], ["short"], [ONE, "short"]])
def test_a_weak_master_secret_is_refused(masters: list[str]) -> None:
    with pytest.raises(WeakSecret, match="at least 32 bytes"):
        Keyring(masters)


def test_a_keyring_does_not_show_its_secrets() -> None:
    keyring = Keyring([ONE, TWO])

    shown = f"{keyring!r} {keyring.signer('a')!r}"
    assert "secret" not in shown
    assert keyring.signer("a").private.hex() not in shown
    assert keyring.secret("one use") != keyring.secret("another use")


def test_a_signature_holds_for_its_message_and_key_only() -> None:
    signer, other = Keyring([ONE]).signer("audit"), Keyring([ONE]).signer("access")
    signature = signer.sign(b"message")

    assert crypto.signed_by(signer.public, signature, b"message")
    assert not crypto.signed_by(signer.public, signature, b"massage")
    assert not crypto.signed_by(other.public, signature, b"message")
    assert not crypto.signed_by(b"too short", signature, b"message")


def test_api_keys_carry_their_name_and_check_digits() -> None:
    name, text = crypto.api_key()

    assert re.fullmatch(crypto.KEY_PATTERN, text)
    assert crypto.api_key_name(text) == name
    assert crypto.api_key()[1] != text


@given(st.integers(0, 54), st.sampled_from(crypto.BASE62))
def test_one_wrong_character_of_an_api_key_is_found_without_a_lookup(at: int, char: str) -> None:
    _, text = crypto.api_key()
    wrong = text[:at] + char + text[at + 1 :]

    assert (crypto.api_key_name(wrong) is None) == (wrong != text)


@pytest.mark.parametrize("text", ["", "bsr_live_", "x" * 56, "bsr_live_é" + "a" * 46, "bsr_test_" + "a" * 47])
def test_what_is_no_api_key_has_no_name(text: str) -> None:
    assert crypto.api_key_name(text) is None


def test_the_blocklist_is_the_generated_one() -> None:
    assert len(crypto.blocked_passwords()) > 10_000
    assert {"password", "letmein", "qwertyuiop", "correcthorsebatterystaple"} <= crypto.blocked_passwords()


CLAIMS = {"iss": "https://b", "sub": "x", "exp": 2_000_000_000}
SIGNER = Keyring([ONE]).signer("access")
KEYS = {SIGNER.kid: SIGNER.public}


def _part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _token(header: object, claims: object = CLAIMS, signature: bytes | None = None) -> str:
    """Return a token with any header, rightly signed unless a signature is given."""
    body = f"{_part(header)}.{_part(claims)}"
    return f"{body}.{_part(SIGNER.sign(body.encode()) if signature is None else signature)}"


GOOD = {"alg": "Ed25519", "kid": SIGNER.kid, "typ": "at+jwt"}


def test_a_token_of_ours_is_read() -> None:
    assert jwt.read(jwt.issue(SIGNER, CLAIMS), KEYS) == CLAIMS
    assert jwt.read(_token(GOOD), KEYS) == CLAIMS
    assert jwt.public_key(SIGNER)["kid"] == SIGNER.kid


@pytest.mark.parametrize(
    "forged",
    [
        _token(GOOD | {"alg": "none"}, signature=b""),
        _token(GOOD | {"alg": "None"}),
        _token(GOOD | {"alg": "HS256"}),
        _token(GOOD | {"alg": "EdDSA"}),
        _token(GOOD | {"typ": "JWT"}),
        _token(GOOD | {"kid": "other"}),
        _token(GOOD | {"kid": None}),
        _token(GOOD | {"kid": ["x"]}),
        _token({k: v for k, v in GOOD.items() if k != "kid"}),
        _token(GOOD | {"jku": "https://evil.example/keys"}),
        _token(GOOD | {"x5u": "https://evil.example/cert"}),
        _token(GOOD | {"jwk": jwt.public_key(SIGNER)}),
        _token(GOOD | {"crit": ["exp"]}),
        _token(GOOD | {"b64": False}),
        _token(GOOD, signature=b""),
        _token(GOOD, signature=b"x" * 64),
        _token(GOOD, claims=[1, 2]),
        _token(GOOD, claims=b"not json"),
        _token([GOOD]),
        _token(b"not json"),
        "",
        "a.b",
        "a.b.c",
        "....",
        "é.é.é",
        _token(GOOD, claims={"x": "y" * jwt.TOKEN_CHARS_MAX}),
        _token(GOOD) + "x",
        _token(GOOD).replace(".", "..", 1),
    ],
)
def test_a_forged_token_says_nothing(forged: str) -> None:
    assert jwt.read(forged, KEYS) is None


def test_a_token_signed_by_another_installation_says_nothing() -> None:
    other = Keyring([TWO]).signer("access")

    assert jwt.read(jwt.issue(other, CLAIMS), KEYS) is None
    assert jwt.read(jwt.issue(crypto.Signer(SIGNER.kid, other.private), CLAIMS), KEYS) is None


@given(st.text(max_size=200))
def test_any_text_is_read_as_nothing_without_raising(text: str) -> None:
    assert jwt.read(text, KEYS) is None


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_altered_byte_of_a_token_is_found(at: int, bits: int) -> None:
    token = bytearray(jwt.issue(SIGNER, CLAIMS).encode())
    token[at % len(token)] ^= bits
    text = token.decode("latin-1")

    read = jwt.read(text, KEYS)
    assert read is None or (read == CLAIMS and _same_bits(text))


def _same_bits(text: str) -> bool:
    """The last character of a base64 part has unused bits; a change of those alone changes nothing."""
    original = jwt.issue(SIGNER, CLAIMS)
    return [_raw(part) for part in text.split(".")] == [_raw(part) for part in original.split(".")]


def _raw(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_")
