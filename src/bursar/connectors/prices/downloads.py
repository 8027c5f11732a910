"""Large files: downloaded to disk in pieces, resumed where they broke off, whole or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bursar.infra.http import Answered, Caps, Client, NoAnswer

ATTEMPTS = 6
FILE_BYTES_MAX = 4 * 2**30
CAPS = Caps(read_s=60.0, total_s=3600.0, body_bytes=FILE_BYTES_MAX)

PARTIAL = 206
NOT_SATISFIABLE = 416

Progress = Callable[[int, int], None]


def _quiet(_done: int, _whole: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Got:
    """A whole file: its size in bytes, and how often the download was taken up again."""

    size: int
    resumed: int


async def download(client: Client, url: str, target: Path, *, progress: Progress = _quiet, caps: Caps = CAPS) -> Got:
    """Download ``url`` to ``target``; a broken download goes on where it stopped, also in a later call.

    The part so far lies beside the target as ``NAME.part``, its validator as ``NAME.part.etag``; when the file changed
    meanwhile, the download begins again. ``progress`` is told the bytes so far and the whole size (0: unknown).

    Raises:
        NoAnswer: The whole file was not to be had in :data:`ATTEMPTS` attempts.
        Answered: The host refused.
        ReplyTooLarge: The file is larger than the cap.
    """
    partial = Partial(target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.etag"))
    for attempt in range(ATTEMPTS):
        try:
            await _attempt(client, url, partial, progress, caps)
        except NoAnswer as refused:
            if attempt == ATTEMPTS - 1 or refused.retry_after_s:
                raise
            continue
        return Got(partial.finish(target), attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


@dataclass
class Partial:
    """What was downloaded so far: the part, and the validator under which it may go on."""

    part: Path
    mark: Path

    def done(self) -> int:
        """Return the bytes that may be built on: none without a validator."""
        return self.part.stat().st_size if self.part.exists() and self.mark.exists() else 0

    def headers(self, done: int) -> dict[str, str]:
        """Return the headers that ask for the rest."""
        plain = {"Accept-Encoding": "identity"}
        return plain | ({"Range": f"bytes={done}-", "If-Range": self.mark.read_text(encoding="ascii")} if done else {})

    def open(self, *, resumed: bool) -> BinaryIO:
        """Open the part to go on, or to begin again."""
        return self.part.open("ab" if resumed else "wb")

    def drop(self) -> None:
        """Forget the part."""
        self.part.unlink(missing_ok=True)

    def remember(self, etag: str) -> None:
        """Keep a strong validator; a weak one does not say that the bytes are the same."""
        if etag and not etag.startswith("W/") and etag.isascii():
            self.mark.write_text(etag, encoding="ascii")
        else:
            self.mark.unlink(missing_ok=True)

    def finish(self, target: Path) -> int:
        """Put the whole file in its place; return its size."""
        self.part.replace(target)
        self.mark.unlink(missing_ok=True)
        return target.stat().st_size


async def _attempt(client: Client, url: str, partial: Partial, progress: Progress, caps: Caps) -> None:
    done = partial.done()
    async with client.stream("GET", url, headers=partial.headers(done), caps=caps) as got:
        reply = got.reply
        if reply.status == NOT_SATISFIABLE:
            partial.drop()
            raise NoAnswer(reply.host, "its file changed while it was read")
        if not reply.ok:
            raise Answered(reply.host, reply.status)
        length = int(reply.headers.get("content-length") or 0)
        resumed = reply.status == PARTIAL and done > 0
        size = done if resumed else 0
        whole = size + length if length else 0
        partial.remember(reply.headers.get("etag", ""))
        with partial.open(resumed=resumed) as file:
            async for piece in got.chunks():
                file.write(piece)
                size += len(piece)
                progress(size, whole)
        if whole and size < whole:
            raise NoAnswer(reply.host, "its answer ends too early")
