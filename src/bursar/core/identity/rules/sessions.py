"""How long a sign-in lasts, who an address belongs to, and how names and addresses are written."""

import ipaddress
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from email_validator import EmailNotValidError, validate_email

from bursar.kernel.errors import Invalid, Refusal

IDLE = timedelta(minutes=30)
LIFE = timedelta(hours=12)
IDLE_REMEMBERED = timedelta(days=2)
LIFE_REMEMBERED = timedelta(days=7)
"""Absolute life of a session on a remembered device."""

FRESH_FOR = timedelta(minutes=5)
"""How long after giving a password or code the dangerous things may be done."""

SEEN_EVERY = timedelta(minutes=1)
"""How often the last use of a session or key is written."""

VERIFY_LIFE = timedelta(hours=24)
RESET_LIFE = timedelta(hours=1)
INVITATION_LIFE = timedelta(days=7)
GRACE = timedelta(days=30)
"""How long a deleted organisation can be called back."""

KEY_LIFE_DAYS = 90
KEY_LIFE_DAYS_MAX = 365
KEYS_MAX = 200
"""Live API keys of one organisation."""

MEMBERS_MAX = 10_000
SESSIONS_MAX = 50
"""Live sessions of one person in one organisation; one more ends the oldest."""

INVITATIONS_MAX = 500
"""Open invitations of one organisation."""

EMAIL_CHARS_MAX = 254
NAME_CHARS_MAX = 120
AGENT_CHARS_MAX = 200
NETWORKS_MAX = 50
"""Networks on the address list of one key."""


@dataclass(eq=False)
class StepUpNeeded(Refusal):
    """Give your password or code again first (POST /v1/sessions/step-up); it then holds for five minutes."""

    status = 403


@dataclass(eq=False)
class SecondFactorNeeded(Refusal):
    """Send the code of your authenticator app, or a recovery code, as well."""

    status = 401


@dataclass(eq=False)
class WrongCredentials(Refusal):
    """The e-mail address, the password or the code is wrong."""

    status = 401


@dataclass(eq=False)
class SpentToken(Refusal):
    """This link or token is not valid: it was used, has expired, or never existed."""


def life(*, remembered: bool, now: datetime) -> tuple[datetime, timedelta]:
    """Return when a session opened ``now`` ends at the latest, and how long it may be idle."""
    return (now + LIFE_REMEMBERED, IDLE_REMEMBERED) if remembered else (now + LIFE, IDLE)


def is_fresh(at: datetime | None, now: datetime) -> bool:
    """Tell whether a password or code given ``at`` still allows dangerous things."""
    return at is not None and at <= now < at + FRESH_FOR


def check_email(email: str) -> str:
    """Return ``email`` normalised and in small letters: the key of a person.

    Raises:
        Invalid: It has not the form of an e-mail address. No name server is asked.
    """
    try:
        found = validate_email(email, check_deliverability=False)
    except EmailNotValidError as error:
        raise Invalid("this is not an e-mail address", fix=str(error)) from error
    return found.normalized.casefold()


def check_name(name: str) -> str:
    """Return ``name`` in form NFC without spaces around it.

    Raises:
        Invalid: Nothing is left, it holds control characters, or a link (names stand in mails that we send).
    """
    tidy = unicodedata.normalize("NFC", name).strip()
    if "://" in tidy or "www." in tidy.casefold():
        raise Invalid("a name holds no link", fix="Leave the address out.")
    if not tidy or any(unicodedata.category(char) in {"Cc", "Cs", "Cf"} for char in tidy):
        raise Invalid("a name needs visible characters", fix="Write it on one line.")
    return tidy


def check_networks(networks: Iterable[str]) -> tuple[str, ...]:
    """Return the address list of a key in normal form.

    Raises:
        Invalid: One is not an address or network, or there are more than 50.
    """
    try:
        found = tuple(sorted({str(ipaddress.ip_network(each.strip())) for each in networks}))
    except ValueError as error:
        raise Invalid(str(error), fix="Write addresses like 192.0.2.7 or networks like 192.0.2.0/24.") from error
    if len(found) > NETWORKS_MAX:
        raise Invalid(f"at most {NETWORKS_MAX} networks", fix="Join neighbouring networks.")
    return found


def within(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Tell whether ``address`` lies in one of ``networks``; an IPv4 address in IPv6 clothes counts as IPv4."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)


def is_loopback(address: str) -> bool:
    """Tell whether ``address`` is this machine itself."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
