"""Encryption of backups with a passphrase: scrypt for the key, AES-256-GCM over chunks that cannot be cut or reordered.

A sealed stream is a magic line, a random salt of 16 bytes, then chunks. Its key is derived (HKDF) from the key of the
backup place, the salt and the stream's name; chunk ``i`` has the nonce ``i`` (11 bytes) and a last byte that is 1 for the
last chunk only, so a stream that was cut, reordered, extended or renamed does not open.

Source:
    The STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (2015), as in the age file format.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bursar.infra.backup_store import Missing, Store
from bursar.kernel.errors import Conflict, Refusal

KEY_FILE = "key.json"
CHUNK_BYTES = 1024 * 1024
_MAGIC = b"bursar-sealed-1\n"
_SALT_BYTES = 16
_TAG_BYTES = 16
_KEY_BYTES = 32
_COST = 2**16
"""scrypt's n; with r = 8 one guess takes 64 MiB."""

_COST_MAX = 2**20
PASSPHRASE_CHARS_MIN = 12


@dataclass(eq=False)
class WrongPassphrase(Refusal):
    """The backups here {what}. Set BURSAR_BACKUP_PASSPHRASE to the one they were made with."""

    status: ClassVar[int] = 403
    what: str


@dataclass(eq=False)
class WeakPassphrase(Refusal):
    """The passphrase for backups must have at least {chars_min} characters."""

    chars_min: int = PASSPHRASE_CHARS_MIN


@dataclass(eq=False)
class Damaged(Refusal):
    """{name} was changed or cut after it was written."""

    status: ClassVar[int] = 409
    name: str


@dataclass(frozen=True, slots=True)
class Key:
    """The key of one backup place."""

    master: bytes

    def object_name(self, digest: str) -> str:
        """Return a name for content with this SHA-256 that does not tell the SHA-256."""
        return hmac.new(self.master, f"object:{digest}".encode(), hashlib.sha256).hexdigest()

    def seal(self, name: str, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the sealed form of a stream that will be stored as ``name``."""
        salt = os.urandom(_SALT_BYTES)
        cipher = self._cipher(name, salt)
        yield _MAGIC + salt
        for index, chunk, last in _numbered(parts, CHUNK_BYTES):
            yield cipher.encrypt(_nonce(index, last=last), chunk, None)

    def open(self, name: str, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the bytes of a sealed stream that was stored as ``name``.

        Raises:
            Damaged: It is not what was sealed under this name with this key; what was yielded so far is genuine.
        """
        source = _Source(parts)
        head = source.take(len(_MAGIC) + _SALT_BYTES)
        if len(head) != len(_MAGIC) + _SALT_BYTES or not head.startswith(_MAGIC):
            raise Damaged(name)
        cipher = self._cipher(name, head[len(_MAGIC) :])
        for index, chunk, last in _numbered(source, CHUNK_BYTES + _TAG_BYTES):
            try:
                yield cipher.decrypt(_nonce(index, last=last), chunk, None)
            except InvalidTag:
                raise Damaged(name) from None

    def _cipher(self, name: str, salt: bytes) -> AESGCM:
        derived = HKDF(SHA256(), _KEY_BYTES, salt=salt, info=b"bursar backup " + name.encode()).derive(self.master)
        return AESGCM(derived)


def key_of(store: Store, passphrase: str | None, *, make: bool = False) -> Key | None:
    """Return the key of a backup place; None when its backups are not encrypted and no passphrase is given.

    Args:
        store: The place.
        passphrase: What the operator set, if anything.
        make: Whether a place without a key may be given one (at the first backup).

    Raises:
        WrongPassphrase: It is not the one the place was set up with, is missing, or is given where none is used.
        WeakPassphrase: A new key would come from fewer than 12 characters.
    """
    try:
        facts = json.loads(b"".join(store.read(KEY_FILE)))
    except Missing:
        if passphrase is None:
            return None
        if not make:
            raise WrongPassphrase("are not encrypted, or their key.json is missing") from None
        return _made(store, passphrase)
    except ValueError:
        raise Damaged(KEY_FILE) from None
    if passphrase is None:
        raise WrongPassphrase("are encrypted")
    try:
        if not 2 <= facts["n"] <= _COST_MAX:
            raise Damaged(KEY_FILE)
        key = _derived(passphrase, bytes.fromhex(facts["salt"]), facts["n"])
        if not hmac.compare_digest(bytes.fromhex(facts["check"]), _check(key)):
            raise WrongPassphrase("were made with another passphrase")
    except (KeyError, TypeError, ValueError):
        raise Damaged(KEY_FILE) from None
    return key


def _made(store: Store, passphrase: str) -> Key:
    if len(passphrase) < PASSPHRASE_CHARS_MIN:
        raise WeakPassphrase
    salt = os.urandom(_SALT_BYTES)
    key = _derived(passphrase, salt, _COST)
    facts = {"kdf": "scrypt", "n": _COST, "r": 8, "p": 1, "salt": salt.hex(), "check": _check(key).hex()}
    if not store.create(KEY_FILE, json.dumps(facts).encode()):
        raise Conflict("Another first backup has just set this place up; try again.")
    return key


def _derived(passphrase: str, salt: bytes, cost: int) -> Key:
    return Key(Scrypt(salt=salt, length=_KEY_BYTES, n=cost, r=8, p=1).derive(passphrase.encode()))


def _check(key: Key) -> bytes:
    return hmac.new(key.master, b"check", hashlib.sha256).digest()


def _nonce(index: int, *, last: bool) -> bytes:
    return index.to_bytes(11) + (b"\x01" if last else b"\x00")


def _numbered(parts: Iterable[bytes], size: int) -> Iterator[tuple[int, bytes, bool]]:
    """Cut a stream into chunks of ``size`` bytes, each with its number and whether it is the last; at least one."""
    source = _Source(parts)
    chunk, index = source.take(size), 0
    while True:
        following = source.take(size)
        yield index, chunk, not following
        if not following:
            return
        chunk, index = following, index + 1


class _Source:
    """A stream that hands out exactly as many bytes as asked for, while there are any."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self._held = bytearray()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the rest."""
        yield bytes(self._held)
        self._held.clear()
        yield from self._parts

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes; fewer at the end."""
        while len(self._held) < size and (part := next(self._parts, None)) is not None:
            self._held += part
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken
