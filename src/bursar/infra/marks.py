"""Texts that leave the house and come back unchanged or not at all: cursors, proposals, trace tokens.

A mark is readable by anybody and made by nobody else: it holds no secret and gives no right.
"""

import base64
import binascii
import hashlib
import hmac

MAC_BYTES = 12


def marked(body: bytes, *, key: bytes, scope: str) -> str:
    """Return ``body`` with the first bytes of its HMAC-SHA-256 under ``key``, as text that is safe in a URL.

    Args:
        body: What the text stands for.
        key: Secret of this use.
        scope: What it is good for, such as one list of one organisation; not part of the text.
    """
    return base64.urlsafe_b64encode(_mac(body, key, scope) + body).decode().rstrip("=")


def unmarked(text: str, *, key: bytes, scope: str) -> bytes | None:
    """Return what :func:`marked` was given with the same key and scope; None when the text is anything else."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    mac, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
    return body if hmac.compare_digest(mac, _mac(body, key, scope)) else None


def _mac(body: bytes, key: bytes, scope: str) -> bytes:
    return hmac.new(key, scope.encode() + b"\0" + body, hashlib.sha256).digest()[:MAC_BYTES]
