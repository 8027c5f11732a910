"""The contracts of connectors: a file format recognises and parses, a feed pulls documents from a service.

A format knows by content, parses into lines and never guesses silently. A feed returns the service's own answers as a document,
which then is parsed like any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Protocol

from bursar.kernel.errors import Refusal
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


@dataclass(eq=False)
class TokenRequired(Refusal):
    """The bank asks for a second factor: {instructions}"""  # noqa: D415  the text goes on with the bank's own words

    status: ClassVar[int] = 409
    path: str
    session: str
    link: str
    instructions: str
    expiry_s: int


@dataclass(eq=False)
class StillCollecting(Refusal):
    """The service still collects (request {request_id}); a webhook tells when it is done."""

    status: ClassVar[int] = 409
    request_id: str


@dataclass(eq=False)
class LinkGone(Refusal):
    """The link {link} does not exist any more; connect the bank again (a sandbox forgets all on the 1st of a month)."""

    status: ClassVar[int] = 404
    link: str


@dataclass(frozen=True, slots=True)
class Notice:
    """One webhook of a service: what happened at which link. It carries counts, never rows.

    ``key`` identifies it: services repeat a webhook that was not answered in time.
    """

    key: str
    kind: str
    code: str
    link: str
    rows: int
    first: date | None
    last: date | None


class Feed(Protocol):
    """The way to one service that holds links to banks, with credentials."""

    async def links(self) -> Sequence[Mapping[str, Any]]:
        """Return every link: ``id``, ``institution``, ``status``."""

    async def pull(self, link: str, *, since: date, until: date, collected: bool = False) -> bytes:
        """Return one document with accounts, balances and movements of both days and those between.

        Raises:
            TokenRequired: The bank wants a second factor; :meth:`resume`, then pull with ``collected``.
            StillCollecting: The service goes on collecting; pull with ``collected`` later.
            LinkGone: The link was removed or wiped.
        """

    async def resume(self, asked: TokenRequired, token: str) -> Sequence[Mapping[str, Any]]:
        """Go on with a pull that asked for a second factor; it may ask for another one."""
