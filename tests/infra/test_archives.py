import contextlib
import gzip
import io
import stat
import zipfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bursar.infra.archives import ArchiveLimits, ArchiveRefused, kind_of, unpack


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def zipped(**files: bytes) -> bytes:
    """A zip; ``march_csv=…`` becomes the file march.csv."""
    return zip_of({name.replace("_", "."): data for name, data in files.items()})


def entry(name: str, *, mode: int = 0, data: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, data)
    return buffer.getvalue()


def unpacked(tmp_path: Path, data: bytes, name: str = "upload", **limits: int) -> dict[str, bytes]:
    source = tmp_path / "source"
    source.write_bytes(data)
    members = unpack(source, tmp_path / "into", name=name, limits=ArchiveLimits(**limits))
    assert all(member.path.stat().st_size == member.size for member in members)
    return {member.name: member.path.read_bytes() for member in members}


def test_a_plain_file_is_its_own_only_member(tmp_path: Path) -> None:
    assert unpacked(tmp_path, b"a,b\n1,2\n", "bill.csv") == {"bill.csv": b"a,b\n1,2\n"}


def test_a_zip_gives_its_files_without_the_noise(tmp_path: Path) -> None:
    files = {"a.csv": b"1", "__MACOSX/a.csv": b"", "b/": b"", "b/c.csv": b"2", "b/.DS_Store": b""}

    assert unpacked(tmp_path, zip_of(files), "bills.zip") == {"bills.zip/a.csv": b"1", "bills.zip/b/c.csv": b"2"}


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_gzip_and_zstandard_give_the_file_inside(tmp_path: Path, pack: object) -> None:
    packed = pack(b"1,2\n" * 1000)  # type: ignore[operator]
    suffix = ".gz" if packed[:2] == b"\x1f\x8b" else ".zst"

    assert unpacked(tmp_path, packed, "bill.csv" + suffix) == {"bill.csv" + suffix: b"1,2\n" * 1000}


def test_several_gzip_members_and_zstandard_frames_are_joined(tmp_path: Path) -> None:
    assert unpacked(tmp_path, gzip.compress(b"a") + gzip.compress(b"b")) == {"upload": b"ab"}
    assert unpacked(tmp_path, zstandard.compress(b"a") + zstandard.compress(b"b")) == {"upload": b"ab"}


def test_an_archive_in_an_archive_is_unpacked_and_one_deeper_refused(tmp_path: Path) -> None:
    two = zipped(march_gz=gzip.compress(b"1"))
    assert unpacked(tmp_path, two, "year.zip") == {"year.zip/march.gz": b"1"}

    with pytest.raises(ArchiveRefused, match="more than 2 deep"):
        unpacked(tmp_path, zipped(a_zip=two))


def test_an_office_document_stays_whole(tmp_path: Path) -> None:
    sheet = zip_of({"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<w/>"})

    assert list(unpacked(tmp_path, zipped(sheet_xlsx=sheet), "z")) == ["z/sheet.xlsx"]


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/etc/passwd", "..\\evil", "C:\\evil", "C:/evil", "a\nb", "\u202ecsv.exe", "a" * 600],
)
def test_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveRefused, match="not a plain file name"):
        unpacked(tmp_path, entry(name))
    assert [path for path in tmp_path.rglob("*") if path.name == "evil"] == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    with pytest.raises(ArchiveRefused, match="link or a device"):
        unpacked(tmp_path, entry("a.csv", mode=kind | 0o777, data=b"/etc/passwd"))


def test_a_bomb_is_stopped_by_the_ratio_long_before_its_end(tmp_path: Path) -> None:
    bomb = zipped(bomb=b"\0" * 200_000_000)
    assert len(bomb) < 300_000

    with pytest.raises(ArchiveRefused, match="200 times"):
        unpacked(tmp_path, bomb)
    assert sum(path.stat().st_size for path in (tmp_path / "into").iterdir()) < 80_000_000


def test_a_header_that_lies_about_the_size_changes_nothing(tmp_path: Path) -> None:
    data = bytearray(zipped(a=b"\0" * 5_000_000))
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = (10).to_bytes(4, "little")

    with pytest.raises(ArchiveRefused):
        unpacked(tmp_path, bytes(data), total_bytes=1_000_000)


def test_every_limit_has_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused, match="over 100 bytes"):
        unpacked(tmp_path, zipped(a=b"x" * 60, b=b"y" * 60), total_bytes=100)
    with pytest.raises(ArchiveRefused, match="over 2 files"):
        unpacked(tmp_path, zipped(a=b"", b=b"", c=b""), entries=2)


def test_a_window_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packed.compress(b"x" * 1000) + packed.flush()

    with pytest.raises(ArchiveRefused, match="ZstdError"):
        unpacked(tmp_path, data)


def test_a_password_is_named(tmp_path: Path) -> None:
    data = bytearray(zipped(a=b"secret"))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1

    with pytest.raises(ArchiveRefused, match="password"):
        unpacked(tmp_path, bytes(data))


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"x" * 1000)[:-5], zipped(a=b"x" * 1000)[:-30], b"PK\x03\x04", b"\x1f\x8b\x08"],
    ids=["gzip", "zip", "zip mark", "gzip mark"],  # the bytes hold the time they were made
)
def test_a_cut_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ArchiveRefused, match="broken"):
        unpacked(tmp_path, data)


@given(
    st.sampled_from([gzip.compress(b"a,b\n" * 50), zipped(a=b"a,b\n" * 50), zstandard.compress(b"a,b\n" * 50)]),
    st.data(),
)
def test_any_damage_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, packed: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(4, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ArchiveRefused):  # any other exception fails the test
        unpacked(tmp_path_factory.mktemp("damage"), bytes(damaged))


@given(st.binary(max_size=8))
def test_the_kind_is_told_from_the_first_bytes(head: bytes) -> None:
    assert kind_of(head) in {None, "zip", "gzip", "zstd"}
