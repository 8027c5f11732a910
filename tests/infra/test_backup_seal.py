"""Sealed streams open whole, under their name and key, or not at all."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bursar.infra.backup_place import Place
from bursar.infra.backup_seal import KEY_FILE, Damaged, Key
from bursar.infra.backup_store import FolderStore, Missing
from bursar.kernel.errors import Conflict

PHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def key() -> Key:
    return Key(os.urandom(32))


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, 3_500_000])
def test_what_is_sealed_opens_again_however_it_is_cut(key: Key, size: int) -> None:
    data = os.urandom(size)
    sealed = b"".join(key.seal("n", [data[i : i + 77_777] for i in range(0, size, 77_777)]))

    assert b"".join(key.open("n", [sealed[i : i + 5_003] for i in range(0, len(sealed), 5_003)])) == data
    assert data not in sealed or size < 16


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s[:-1],
        lambda s: s + b"x",
        lambda s: s[: 32 + 1024 * 1024 + 16],  # the last chunk is gone
        lambda s: s[:32] + s[32 + 1048592 : 32 + 2 * 1048592] + s[32 : 32 + 1048592] + s[32 + 2 * 1048592 :],  # swapped
        lambda s: bytes([s[0] ^ 1]) + s[1:],
        lambda s: s[:20] + bytes([s[20] ^ 1]) + s[21:],
        lambda s: s[:10],
        lambda s: s[:0],
    ],
)
def test_a_sealed_stream_that_was_changed_does_not_open(key: Key, change: Callable[[bytes], bytes]) -> None:
    sealed = b"".join(key.seal("n", [os.urandom(2_500_000)]))

    with pytest.raises(Damaged):
        b"".join(key.open("n", [change(sealed)]))


def test_a_sealed_stream_opens_under_its_own_name_and_key_only(key: Key) -> None:
    sealed = b"".join(key.seal("n", [b"text"]))

    for other, name in ((key, "m"), (Key(os.urandom(32)), "n")):
        with pytest.raises(Damaged):
            b"".join(other.open(name, [sealed]))


@pytest.mark.parametrize(
    "text", [b"", b"{}", b'{"n": 1099511627776, "salt": "00", "check": "00"}', b'{"n": 4, "salt": "x", "check": ""}']
)
def test_a_damaged_key_file_is_named(tmp_path: Path, text: bytes) -> None:
    store = FolderStore(tmp_path)
    store.write("key.json", [text])

    with pytest.raises(Damaged, match=r"key\.json"):
        Place.open(store, PHRASE)


def test_two_first_backups_at_once_never_get_two_keys(tmp_path: Path) -> None:
    class Late(FolderStore):
        def read(self, name: str) -> Iterator[bytes]:
            if name == KEY_FILE:
                raise Missing(name)  # as another process is about to write it
            return super().read(name)

    Place.open(FolderStore(tmp_path), PHRASE, make=True)

    with pytest.raises(Conflict, match="try again"):
        Place.open(Late(tmp_path), PHRASE, make=True)
    assert Place.open(FolderStore(tmp_path), PHRASE).key is not None
