"""Places of byte streams: a folder and S3 behave alike, and nothing leaves them."""

import errno
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bursar.infra.backup_store import FolderStore, Missing, Store, store_at
from bursar.kernel.errors import Invalid, Unavailable


@pytest.fixture(params=["folder", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "folder":
        yield FolderStore(tmp_path / "store")
    else:
        yield request.getfixturevalue("s3")


def test_a_store_gives_back_what_it_took(store: Store) -> None:
    data = os.urandom(9_000_000)
    store.write("a/b", [data[:100], b"", data[100:]])
    store.write("a/empty", [])
    store.write("c", [b"first"])
    store.write("c", [b"second"])

    assert b"".join(store.read("a/b")) == data
    assert b"".join(store.read("a/empty")) == b""
    assert b"".join(store.read("c")) == b"second"
    assert [(entry.name, entry.size) for entry in store.entries()] == [("a/b", 9_000_000), ("a/empty", 0), ("c", 6)]
    assert [entry.name for entry in store.entries("a/")] == ["a/b", "a/empty"]
    assert all(-60 < entry.age_s < 60 for entry in store.entries())
    assert (store.has("c"), store.has("d")) == (True, False)
    store.delete("c")
    store.delete("c")
    assert not store.has("c")
    with pytest.raises(Missing, match="d is missing"):
        b"".join(store.read("d"))


def test_a_write_that_fails_leaves_what_was_there(store: Store) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x" * 9_000_000
        raise ZeroDivisionError

    store.write("a", [b"whole"])
    with pytest.raises(ZeroDivisionError):
        store.write("a", failing())

    assert b"".join(store.read("a")) == b"whole"
    assert [entry.name for entry in store.entries()] == ["a"]


def test_what_is_created_is_created_once(store: Store) -> None:
    assert store.create("k/key.json", b"first")
    assert not store.create("k/key.json", b"second")
    assert b"".join(store.read("k/key.json")) == b"first"
    assert [entry.name for entry in store.entries()] == ["k/key.json"]


def test_a_disk_that_does_not_take_it_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="Not a directory"):
        FolderStore(tmp_path / "file").write("a/b", [b"x"])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match=r"No space left on device: .*/store/a"):
        FolderStore(tmp_path / "store").write("a", [b"x"])
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b", "", "a\0b"])
def test_a_name_never_leaves_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        FolderStore(tmp_path).write(name, [b"x"])


@pytest.mark.parametrize("place", ["", "s3://", "ftp://host/x", "https://x"])
def test_a_place_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(Invalid):
        store_at(place)


def test_an_s3_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch, s3_endpoint: str) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")

    with pytest.raises(Unavailable, match="no bucket"):
        list(store_at("s3://nothing/here", endpoint=s3_endpoint).entries())
