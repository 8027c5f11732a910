"""From bytes to text: size limit, character encoding, no document types, no NUL."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bursar.kernel.errors import Invalid, TooLarge

DOCUMENT_BYTES_MAX = 1 << 30
"""Largest bank document read in one go (1 GiB, about four million rows)."""

_DOCTYPE = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_NAMES = {
    "1252": "cp1252",
    "1250": "cp1250",
    "1251": "cp1251",
    "8859-1": "latin-1",
    "iso-8859-1": "latin-1",
    "iso-8859-2": "iso8859-2",
    "iso-8859-15": "iso8859-15",
    "windows-1252": "cp1252",
    "windows-1250": "cp1250",
    "windows-1251": "cp1251",
    "us-ascii": "cp1252",
    "usascii": "cp1252",
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "unicode": "utf-8",
}
"""Encodings a document may declare, by lower-case label; any other label is ignored."""


@dataclass(frozen=True, slots=True)
class Text:
    """A decoded document and what a person should know about its characters."""

    value: str
    notes: tuple[str, ...] = ()


def read_bytes(document: Path) -> bytes:
    """Return the bytes of ``document``.

    Raises:
        TooLarge: It is over :data:`DOCUMENT_BYTES_MAX`.
    """
    if document.stat().st_size > DOCUMENT_BYTES_MAX:
        raise TooLarge("This bank document", DOCUMENT_BYTES_MAX >> 20, "MiB")
    return document.read_bytes()


def refuse_doctype(data: bytes) -> None:
    """Refuse a document type or entity declaration, before any parser sees it.

    Raises:
        Invalid: There is one.
    """
    if _DOCTYPE.search(data) or (b"\x00" in data[:64] and _wide_doctype(data)):
        raise Invalid(
            "The document declares a document type or entities, which bank statements never need",
            "Export the statement again from the bank; never import a file that was edited or mailed by a stranger",
        )


def _wide_doctype(data: bytes) -> bool:
    return bool(_DOCTYPE.search(data.replace(b"\x00", b"")))


def decode(data: bytes, *, declared: str = "", fallbacks: Iterable[str] = ("cp1252", "latin-1")) -> Text:
    """Decode bytes: byte-order mark, then UTF-8 if it is valid, then the declared encoding, then the fall-backs.

    UTF-8 comes before the declaration because files that declare 1252 and hold UTF-8 are common and the reverse
    cannot be valid UTF-8 by accident.

    Args:
        data: The whole document.
        declared: The label in the document's header; ignored when unknown.
        fallbacks: Tried in order when nothing else fits; the last must decode anything.
    """
    wide = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "")
    if not wide and data[1:2] == b"\x00" and data[3:4] == b"\x00":
        wide = "utf-16-le"
    label = _NAMES.get(declared.strip().lower(), "")
    for encoding in (wide, "utf-8", label, *fallbacks):
        if not encoding:
            continue
        try:
            value = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return _without_nul(value)
    return _without_nul(data.decode("utf-8", errors="replace"))


def _without_nul(value: str) -> Text:
    count = value.count("\x00")
    if not count:
        return Text(value)
    return Text(
        value.replace("\x00", "\ufffd"),
        (f"{count} NUL characters were replaced by \ufffd; databases cannot hold them",),
    )
