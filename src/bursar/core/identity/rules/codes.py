"""Second factor: time-based codes (TOTP, RFC 6238) that work once, and recovery codes."""

import base64
import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote, urlencode

import pyotp

STEP_S = 30
STEPS_OFF_MAX = 1
"""Steps that a phone's clock may be off, either way."""

SECRET_BYTES = 20
RECOVERY_CODES = 10
RECOVERY_BYTES = 15
"""120 bits: enough that a plain SHA-256 may be stored (OWASP ASVS 6.5.2)."""

_GROUP_CHARS = 6
_DIGITS = re.compile(r"[0-9]{6}")
_RECOVERY = re.compile(r"[A-Z2-7]{24}")


def secret(raw: bytes) -> str:
    """Return 20 random bytes ``raw`` as the base32 text that authenticator apps take."""
    return base64.b32encode(raw).decode()


def address(secret_text: str, *, email: str) -> str:
    """Return the ``otpauth://`` address that an authenticator app reads from a QR code."""
    facts = {"secret": secret_text, "issuer": "Bursar", "algorithm": "SHA1", "digits": "6", "period": str(STEP_S)}
    return f"otpauth://totp/Bursar:{quote(email)}?{urlencode(facts)}"


def step_of(now: datetime) -> int:
    """Return the number of the 30-second step that ``now`` lies in."""
    return int(now.timestamp()) // STEP_S


def matching_step(secret_text: str, code: str, *, now: datetime) -> int | None:
    """Return the step whose code is ``code``, among the present one and its neighbours; None when it is none of them.

    The caller stores the step and refuses it and all before it from then on: a code works once.
    """
    if not _DIGITS.fullmatch(code):
        return None
    totp = pyotp.TOTP(secret_text)
    present = step_of(now)
    steps = range(present - STEPS_OFF_MAX, present + STEPS_OFF_MAX + 1)
    right = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), code)]
    return right[-1] if right else None


def recovery_codes(raw: Sequence[bytes]) -> list[str]:
    """Return random ``raw`` (each 15 bytes) as recovery codes of four groups of six letters and digits."""
    texts = [base64.b32encode(each).decode() for each in raw]
    return ["-".join(text[at : at + _GROUP_CHARS] for at in range(0, len(text), _GROUP_CHARS)) for text in texts]


def plain_recovery(code: str) -> str | None:
    """Return a typed recovery code without its separators, in capitals; None when it has not the form of one."""
    plain = code.replace("-", "").replace(" ", "").upper()
    return plain if _RECOVERY.fullmatch(plain) else None
