"""What may be attached: kinds by content, names, limits. Pure."""

import re
import unicodedata
from urllib.parse import quote

from bursar.kernel.errors import Invalid

BYTES_MAX = 25 * 1024 * 1024
EACH_MAX = 20
"""Files of one transaction."""
NAME_CHARS_MAX = 200
HEAD_BYTES = 4_096

_SIGNATURES = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_ACTIVE = re.compile(rb"<\s*(!doctype\s+html|html|script|svg|iframe|object|embed|xsl:|\?xml-stylesheet)", re.IGNORECASE)


def kind_of(head: bytes) -> str:
    """Return the media type of a file by its first bytes.

    Raises:
        Invalid: It is empty, of no kind that is taken, or a page that a browser would run.
    """
    if not head:
        raise Invalid("The file is empty", "Send the file as the request body.")
    for start, kind in _SIGNATURES:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    try:
        head.decode("utf-8")
        text = b"\x00" not in head
    except UnicodeDecodeError as error:
        text = error.start > len(head) - 4 and len(head) == HEAD_BYTES  # a character cut in two
    if not text or _ACTIVE.search(head):
        raise Invalid("This kind of file cannot be attached", "Attach a PDF, an image, XML or plain text.")
    return "application/xml" if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<") else "text/plain"


def check_name(name: str) -> str:
    """Return a name without folders and without characters that hide its end.

    Raises:
        Invalid: Nothing is left of it, or it is too long.
    """
    plain = "".join(c for c in name.replace("\\", "/").rsplit("/", 1)[-1] if unicodedata.category(c)[0] != "C").strip(
        " ."
    )
    if not 0 < len(plain) <= NAME_CHARS_MAX:
        raise Invalid(f"A file has a name of 1 to {NAME_CHARS_MAX} characters")
    return plain


def disposition(name: str) -> str:
    """Return the Content-Disposition of a download: always an attachment (RFC 6266, the name as RFC 8187 writes it)."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
