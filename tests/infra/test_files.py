import hashlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from bursar.infra import files as module
from bursar.infra.db import new_id
from bursar.infra.files import DiskFull, FileDamaged, FileStore, LocalFiles, open_files
from bursar.infra.files_s3 import S3Files
from bursar.kernel.errors import NotFound, TooLarge, Unavailable

DATA = b"day,amount\n2026-01-01,0.10\n" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Files]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    store = open_files(tmp_path, bucket=f"bucket-{new_id()}", endpoint=s3_endpoint)
    assert isinstance(store, S3Files)
    store._s3.create_bucket(Bucket=store.bucket)
    yield store
    store._s3.close()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    if request.param == "folder":
        return LocalFiles(tmp_path / "files", free_bytes_min=0)
    found: FileStore = request.getfixturevalue("bucket")
    return found


@pytest.fixture
def org() -> UUID:
    return new_id()


async def stream(data: bytes, size: int = 777) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def drafts(folder: Path) -> list[Path]:
    return list(folder.rglob("draft-*"))


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*/??/*")
    path.chmod(0o600)
    return path


async def listed(store: FileStore) -> list[tuple[UUID, str, int]]:
    return [entry async for entry in store.listing()]


async def test_a_stream_is_kept_under_its_digest(store: FileStore, org: UUID) -> None:
    stored = await store.put(org, stream(DATA))

    assert (stored.digest, stored.size, stored.new) == (DIGEST, len(DATA), True)
    async with store.local(org, DIGEST, verify=True) as path:
        assert path.read_bytes() == DATA


async def test_the_same_bytes_again_store_nothing(store: FileStore, org: UUID, tmp_path: Path) -> None:
    (tmp_path / "bill.csv").write_bytes(DATA)
    await store.put(org, stream(DATA))
    again = await store.put(org, tmp_path / "bill.csv")

    assert again.new is False
    assert await listed(store) == [(org, DIGEST, len(DATA))]


async def test_an_empty_file_can_be_kept(store: FileStore, org: UUID) -> None:
    stored = await store.put(org, stream(b""))

    assert stored.size == 0
    assert await store.has(org, stored.digest)


async def test_another_organisation_neither_sees_nor_shares_a_file(store: FileStore, org: UUID) -> None:
    other = new_id()
    await store.put(org, stream(DATA))

    assert not await store.has(other, DIGEST)
    with pytest.raises(NotFound):
        async with store.local(other, DIGEST):
            pass
    assert (await store.put(other, stream(DATA))).new


async def test_a_file_over_the_limit_leaves_nothing_behind(store: FileStore, org: UUID, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="1000 bytes"):
        await store.put(org, stream(DATA), bytes_max=1000)

    assert await listed(store) == []
    assert not drafts(tmp_path)


async def test_a_stream_that_breaks_leaves_nothing_behind(store: FileStore, org: UUID, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield DATA
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.put(org, broken())

    assert await listed(store) == []
    assert not drafts(tmp_path)


async def test_removing_takes_only_what_was_named(store: FileStore, org: UUID) -> None:
    other = new_id()
    kept = await store.put(org, stream(b"kept"))
    await store.put(org, stream(DATA))
    await store.put(other, stream(DATA))
    await store.remove(org, DIGEST)
    await store.remove(org, DIGEST)

    assert await listed(store) == sorted([(org, kept.digest, 4), (other, DIGEST, len(DATA))])
    await store.remove_all(org)
    assert await listed(store) == [(other, DIGEST, len(DATA))]


@pytest.mark.parametrize("digest", ["../../etc/passwd", DIGEST.upper(), DIGEST + "0", "", "0" * 64])
async def test_what_is_no_stored_digest_is_not_found(store: FileStore, org: UUID, digest: str) -> None:
    with pytest.raises(NotFound):
        async with store.local(org, digest):
            pass


async def test_damage_is_found_when_asked_for(tmp_path: Path, org: UUID) -> None:
    store = LocalFiles(tmp_path, free_bytes_min=0)
    await store.put(org, stream(DATA))
    path = only_file(tmp_path)
    path.write_bytes(DATA[:-1] + b"X")

    with pytest.raises(FileDamaged, match="restore"):
        async with store.local(org, DIGEST, verify=True):
            pass


async def test_a_file_cut_by_a_crash_of_the_disk_is_replaced(tmp_path: Path, org: UUID) -> None:
    store = LocalFiles(tmp_path, free_bytes_min=0)
    await store.put(org, stream(DATA))
    path = only_file(tmp_path)
    path.write_bytes(b"")

    assert (await store.put(org, stream(DATA))).new
    async with store.local(org, DIGEST, verify=True):
        pass


async def test_bytes_are_synced_before_the_name_appears(
    tmp_path: Path, org: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.rename

    def note_sync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def note_rename(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    await LocalFiles(tmp_path, free_bytes_min=0).put(org, stream(DATA))

    assert done == ["file", "rename", "folder", "folder", "folder"]


async def test_a_nearly_full_disk_is_left_alone(tmp_path: Path, org: UUID) -> None:
    with pytest.raises(DiskFull):
        await LocalFiles(tmp_path, free_bytes_min=1 << 60).put(org, stream(DATA))

    assert not drafts(tmp_path)


async def test_a_bucket_that_is_not_there_is_unavailable(bucket: S3Files, org: UUID) -> None:
    bucket.bucket = "no-such-bucket"

    with pytest.raises(Unavailable):
        await bucket.put(org, stream(DATA))


async def test_many_files_are_listed_page_by_page(bucket: S3Files, org: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bucket._s3.list_objects_v2
    monkeypatch.setattr(bucket._s3, "list_objects_v2", lambda **facts: real(MaxKeys=2, **facts))
    for index in range(5):
        await bucket.put(org, stream(str(index).encode()))

    assert len(await listed(bucket)) == 5


def test_the_home_folder_is_used_without_a_bucket(tmp_path: Path) -> None:
    store = open_files(tmp_path)

    assert isinstance(store, LocalFiles)
    assert store.folder == tmp_path / "files"
    assert module.FREE_BYTES_MIN == 1024**3
