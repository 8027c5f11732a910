"""The contract of a file-format connector: recognise by content, parse into lines, never guess silently."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bursar.kernel.lines import DocumentKind, Parsed

HEAD_BYTES_MAX = 65_536
"""How much of a document a connector sees when asked whether it knows the format."""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a document: its name (a hint only), first bytes (decompressed) and total size in bytes.

    ``columns`` holds the column names where the container itself has a schema (Parquet keeps it at the end of the file).
    """

    name: str
    data: bytes
    size: int
    columns: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the bytes as text: byte-order mark honoured, UTF-8 first, else Windows-1252, never failing."""
        for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
            if self.data.startswith(mark):
                return self.data.decode(encoding, errors="replace")
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            cut_inside_a_character = len(self.data) == HEAD_BYTES_MAX and error.start > len(self.data) - 4
            return self.data.decode("utf-8" if cut_inside_a_character else "cp1252", errors="replace")


class FileConnector(Protocol):
    """One file format.

    ``sniff`` sees content, not the name, and returns a certainty from 0 (not mine) to 1 (proven by a signature).
    ``parse`` reads a decompressed local file. It raises only :class:`~bursar.kernel.errors.Refusal` for a document that
    cannot be read at all; unreadable rows become problems.
    """

    @property
    def name(self) -> str:
        """The format's id, such as ``focus`` or ``camt``."""

    @property
    def title(self) -> str:
        """What a person calls it, such as ``FOCUS cost and usage``."""

    @property
    def kind(self) -> DocumentKind:
        """What documents of this format are about."""

    def sniff(self, head: Head) -> float:
        """Return the certainty, 0 to 1, that the document is of this format."""

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read the document; ``options`` holds answers of a person (currency, account, mapping as JSON)."""
