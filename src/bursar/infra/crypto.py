"""Secrets: random tokens, password hashes, sealed credentials, signing keys and the check digits of API keys.

Everything secret is derived from master secrets of the environment (:class:`Keyring`) or drawn from the operating system;
nothing here is stored. A random token of 256 bits may be kept as plain SHA-256 (OWASP ASVS 5.0, 6.5.2 asks for a slow hash
only below 112 bits); a password never.
"""

import asyncio
import base64
import hashlib
import secrets
import string
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import ClassVar, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bursar.kernel.errors import Refusal, Unavailable

TOKEN_BYTES = 32
"""Random bytes of a session, refresh, verification or invitation token (256 bits)."""

SECRET_BYTES_MIN = 32
"""Shortest master secret, in bytes of UTF-8 text."""

PASSWORD_CHECKS_AT_ONCE = 2
"""Argon2 computations at once in one process; each takes 64 MiB."""

PASSWORD_CHECKS_WAITING_MAX = 64
"""Computations that may wait for their turn; one more is refused."""

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
CHECK_CHARS = 6
"""Base62 digits that hold a CRC-32."""

_MEMORY_KIB = 65_536
_TIME_COST = 3
_PARALLELISM = 4
_HASH_BYTES = 32
_SALT_BYTES = 16
_KID_BYTES = 4
_NONCE_BYTES = 12
_SEAL_VERSION = b"\x01"

Result = TypeVar("Result")


@dataclass(eq=False)
class BadSeal(Refusal):
    """A stored secret cannot be opened: {why}."""

    status: ClassVar[int] = 409
    why: str


@dataclass(eq=False)
class WeakSecret(Refusal):
    """The master secret must have at least {bytes_min} bytes; `bursar config secret` prints one."""

    bytes_min: int


def token() -> str:
    """Return a fresh random token: 256 bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(secret: str) -> bytes:
    """Return the 32 bytes kept instead of a random ``secret`` of at least 112 bits."""
    return hashlib.sha256(secret.encode()).digest()


def same(one: bytes, other: bytes) -> bool:
    """Compare in a time that does not depend on where the values differ."""
    return secrets.compare_digest(one, other)


def base62(count: int) -> str:
    """Return ``count`` random base62 digits (5.95 bits each)."""
    return "".join(secrets.choice(BASE62) for _ in range(count))


def check_digits(text: str) -> str:
    """Return the CRC-32 of ``text`` as six base62 digits; it catches typing errors and false finds of secret scanners."""
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(CHECK_CHARS):
        number, rest = divmod(number, len(BASE62))
        digits = BASE62[rest] + digits
    return digits


KEY_PREFIX = "bsr_live_"
KEY_NAME_CHARS = 8
KEY_SECRET_CHARS = 32
"""Base62 digits of an API key's secret part: 190 bits."""

KEY_PATTERN = r"bsr_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}"
"""Regular expression for secret scanners; the last six characters are the check digits of all before them."""

_KEY_CHARS = len(KEY_PREFIX) + KEY_NAME_CHARS + 1 + KEY_SECRET_CHARS + CHECK_CHARS


def api_key() -> tuple[str, str]:
    """Return the public name (8 characters) and the whole text of a fresh API key."""
    name = base62(KEY_NAME_CHARS)
    head = f"{KEY_PREFIX}{name}_{base62(KEY_SECRET_CHARS)}"
    return name, head + check_digits(head)


def api_key_name(text: str) -> str | None:
    """Return the public name inside an API key; None when ``text`` is not one, or its check digits are wrong.

    A mistyped or made-up key is found out here, without asking the database.
    """
    if len(text) != _KEY_CHARS or not text.startswith(KEY_PREFIX) or not text.isascii():
        return None
    if check_digits(text[:-CHECK_CHARS]) != text[-CHECK_CHARS:]:
        return None
    return text[len(KEY_PREFIX) : len(KEY_PREFIX) + KEY_NAME_CHARS]


@lru_cache(maxsize=1)
def blocked_passwords() -> frozenset[str]:
    """Return the bundled blocklist: passwords too common to use, folded as ``passwords.folded`` of identity does."""
    text = resources.files("bursar.infra").joinpath("blocked_passwords.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one argon2id hash (RFC 9106).

    Attributes:
        memory_kib: Memory, in KiB.
        passes: Passes over the memory.
        lanes: Threads of one computation.
    """

    memory_kib: int = _MEMORY_KIB
    passes: int = _TIME_COST
    lanes: int = _PARALLELISM


class Passwords:
    """Hashes and checks passwords with argon2id, at most two at once, off the event loop.

    Args:
        cost: Cost of new hashes; a hash of another cost still verifies and counts as outdated.
        waiting_max: Computations that may wait for their turn.
    """

    def __init__(self, cost: Cost | None = None, *, waiting_max: int = PASSWORD_CHECKS_WAITING_MAX) -> None:
        cost = cost or Cost()
        self._hasher = PasswordHasher(
            time_cost=cost.passes,
            memory_cost=cost.memory_kib,
            parallelism=cost.lanes,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
            type=Type.ID,
        )
        head = f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}"
        # nobody's hash: checking it costs what checking a real one costs and never succeeds
        self._nobody = f"{head}${_bare64(secrets.token_bytes(_SALT_BYTES))}${_bare64(secrets.token_bytes(_HASH_BYTES))}"
        self._pool = ThreadPoolExecutor(PASSWORD_CHECKS_AT_ONCE, thread_name_prefix="argon2")
        self._waiting_max = waiting_max
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """Return the hash to store, in PHC string form with its salt and cost.

        Raises:
            Unavailable: Too many computations are waiting.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Tell whether ``password`` belongs to ``stored``; None (an unknown name) takes as long and is never right.

        Raises:
            Unavailable: Too many computations are waiting.
        """
        return await self._run(lambda: self._check(stored or self._nobody, password)) and stored is not None

    def outdated(self, stored: str) -> bool:
        """Tell whether ``stored`` was made at another cost and should be made anew at the next sign-in."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Wait for running computations and end the threads."""
        self._pool.shutdown()

    def _check(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._waiting >= self._waiting_max:
            raise Unavailable("the password check, which is busy,")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


def _bare64(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Signer:
    """An Ed25519 key pair (RFC 8032).

    Attributes:
        kid: Name of the key, unique within its use.
        private: The 32-byte seed.
    """

    kid: str
    private: bytes = field(repr=False)

    @property
    def public(self) -> bytes:
        """The 32-byte public key."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message``."""
        return self._key.sign(message)

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.private)


def signed_by(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` of ``message`` was made with the private half of ``public`` (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class Keyring:
    """All keys of an installation, derived from its master secrets with HKDF-SHA-256 (RFC 5869).

    Args:
        masters: Master secrets, current one first; older ones still open what they sealed.

    Raises:
        WeakSecret: There is no master secret, or one is shorter than 32 bytes.
    """

    def __init__(self, masters: Sequence[str]) -> None:
        if not masters or any(len(master.encode()) < SECRET_BYTES_MIN for master in masters):
            raise WeakSecret(SECRET_BYTES_MIN)
        self._masters: Mapping[bytes, bytes] = {
            _derive(master.encode(), "name", _KID_BYTES): master.encode() for master in masters
        }
        self._current = next(iter(self._masters))

    def __repr__(self) -> str:
        """Name the master secrets, never show them."""
        return f"Keyring({', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the master secrets, current one first; a name tells nothing about its secret."""
        return tuple(kid.hex() for kid in self._masters)

    def secret(self, use: str) -> bytes:
        """Return 32 secret bytes for ``use`` (cursor signatures, for example), made from the current master secret."""
        return _derive(self._masters[self._current], use, 32)

    def signer(self, use: str, master: str | None = None) -> Signer:
        """Return the signing key for ``use`` made from the master secret named ``master``, by default the current one.

        Raises:
            KeyError: There is no such master secret.
        """
        kid = self._current if master is None else bytes.fromhex(master)
        return Signer(f"{kid.hex()}.{use}", _derive(self._masters[kid], f"sign:{use}", 32))

    def signers(self, use: str) -> Mapping[str, Signer]:
        """Return the signing keys for ``use`` of all master secrets by key name."""
        made = (self.signer(use, name) for name in self.names)
        return {signer.kid: signer for signer in made}

    def seal(self, plain: bytes, *, place: str) -> bytes:
        """Encrypt ``plain`` with AES-256-GCM, bound to ``place``.

        Args:
            plain: The secret, for example a connector's password.
            place: Where it belongs, such as ``org:connector``; it opens nowhere else.

        Returns:
            Version, key name, nonce and ciphertext; 33 bytes longer than ``plain``.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        head = _SEAL_VERSION + self._current
        return head + nonce + AESGCM(self._box(self._current)).encrypt(nonce, plain, head + place.encode())

    def open(self, sealed: bytes, *, place: str) -> bytes:
        """Return what was sealed for ``place``.

        Raises:
            BadSeal: It was altered, belongs to another place, or its master secret is not in the ring.
        """
        head, nonce, body = _parts(sealed)
        if head[:1] != _SEAL_VERSION or head[1:] not in self._masters:
            raise BadSeal("its master secret is not configured")
        try:
            return AESGCM(self._box(head[1:])).decrypt(nonce, body, head + place.encode())
        except InvalidTag as error:
            raise BadSeal("it was altered or belongs elsewhere") from error

    def stale(self, sealed: bytes) -> bool:
        """Tell whether ``sealed`` was made with an older master secret and should be sealed anew."""
        return _parts(sealed)[0][1:] != self._current

    def _box(self, kid: bytes) -> bytes:
        return _derive(self._masters[kid], "seal", 32)


def _parts(sealed: bytes) -> tuple[bytes, bytes, bytes]:
    """Split into head (version, key name), nonce and ciphertext with tag."""
    at = 1 + _KID_BYTES
    return sealed[:at], sealed[at : at + _NONCE_BYTES], sealed[at + _NONCE_BYTES :]


def _derive(master: bytes, use: str, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=b"bursar", info=use.encode()).derive(master)
