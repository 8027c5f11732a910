"""Delivery of one mail by SMTP, telling apart what is known to have failed from what nobody can know."""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from bursar.kernel.errors import Invalid

SMTP_S_MAX = 30.0
"""Longest wait for one answer of the server."""

_PORTS = {"none": 25, "starttls": 587, "tls": 465}


class Refused(Exception):  # noqa: N818  an answer, not a fault
    """The server will never take this mail."""


class Later(Exception):  # noqa: N818  an answer, not a fault
    """The server did not take the mail; it may another time."""


class Unknown(Exception):  # noqa: N818  an answer, not a fault
    """The connection broke after the mail was handed over: it may have been taken."""


@dataclass(frozen=True, slots=True)
class Smtp:
    """A mail server: ``smtp://user:password@host:587?tls=starttls``, or ``smtps://…`` for TLS from the start.

    Attributes:
        host: Its name.
        port: Its port.
        tls: ``starttls`` (default), ``tls`` or ``none``; a password is sent without TLS to this machine only.
        user: Name to log in with; empty for none.
        password: Its password.
        context: Trust of its certificate; the system's when None.
    """

    host: str
    port: int
    tls: str
    user: str = ""
    password: str = field(default="", repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str, *, context: ssl.SSLContext | None = None) -> "Smtp":
        """Read the setting.

        Raises:
            Invalid: The scheme or ``tls`` is unknown, or a password would travel in the clear.
        """
        parts = urlsplit(url)
        tls = parse_qs(parts.query).get("tls", ["starttls"])[0] if parts.scheme == "smtp" else "tls"
        if parts.scheme not in {"smtp", "smtps"} or tls not in _PORTS or not parts.hostname:
            raise Invalid("the mail server's address is not smtp://host", fix="Write smtp://user:password@host:587.")
        made = cls(
            parts.hostname,
            parts.port or _PORTS[tls],
            tls,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            context,
        )
        if made.password and tls == "none" and not _is_here(made.host):
            raise Invalid("the mail server's password would travel unencrypted", fix="Write tls=starttls or tls=tls.")
        return made


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def deliver(
    smtp: Smtp, message: EmailMessage, *, sender: str, to: str, before_data: Callable[[], Awaitable[None]]
) -> None:
    """Hand one mail over.

    Args:
        smtp: The server.
        message: The mail.
        sender: Envelope sender, a bare address.
        to: Envelope recipient, a bare address.
        before_data: Awaited when everything is agreed and only the mail itself is left to send.

    Raises:
        Refused: 5xx to the sender, the recipient or the mail.
        Later: No connection, log-in refused, or 4xx; the mail was not taken.
        Unknown: The connection broke between the mail and the server's answer.
    """
    client = aiosmtplib.SMTP(
        hostname=smtp.host,
        port=smtp.port,
        username=smtp.user or None,
        password=smtp.password or None,
        use_tls=smtp.tls == "tls",
        start_tls=smtp.tls == "starttls",
        tls_context=smtp.context,
        timeout=SMTP_S_MAX,
    )
    try:
        try:
            await client.connect()
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Later(_words(error)) from error
        await _agree(client, sender, to)
        await before_data()
        try:
            await client.data(message.as_bytes())
        except aiosmtplib.SMTPResponseException as error:
            raise _kind(error.code)(_words(error)) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Unknown(_words(error)) from error
        with suppress(aiosmtplib.SMTPException, OSError):
            await client.quit()
    finally:
        client.close()


async def _agree(client: aiosmtplib.SMTP, sender: str, to: str) -> None:
    try:
        await client.mail(sender)
        await client.rcpt(to)
    except aiosmtplib.SMTPResponseException as error:
        raise _kind(error.code)(_words(error)) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise Later(_words(error)) from error


def _kind(code: int) -> type[Refused | Later]:
    return Refused if 500 <= code < 600 else Later


def _words(error: Exception) -> str:
    code = f"{error.code} " if isinstance(error, aiosmtplib.SMTPResponseException) else ""
    return f"{type(error).__name__}: {code}{getattr(error, 'message', '') or error}"[:300]
