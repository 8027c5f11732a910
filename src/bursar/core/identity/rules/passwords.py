"""What makes a password acceptable: NIST SP 800-63B-4 (length and a blocklist; no composition rule, no expiry)."""

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bursar.kernel.errors import Refusal

ALONE_CHARS_MIN = 15
"""Shortest password that is the only factor."""

WITH_SECOND_CHARS_MIN = 8
"""Shortest password beside a second factor."""

CHARS_MAX = 128
"""Longest password; longer ones would only cost memory."""

CONTEXT_CHARS_MIN = 4
"""Names shorter than this are not looked for; every second password contains them by chance."""

_LOOKS_LIKE = str.maketrans({"0": "o", "1": "l", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
_SEQUENCES = ("0123456789012345678901234567890", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm",
              "qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn", "1qaz2wsx3edc4rfv5tgb6yhn7ujm")  # fmt: skip


@dataclass(eq=False)
class PasswordTooShort(Refusal):
    """A password needs at least {chars_min} characters; a sentence works well."""

    chars_min: int


@dataclass(eq=False)
class PasswordTooLong(Refusal):
    """A password may have at most {chars_max} characters."""

    chars_max: int


@dataclass(eq=False)
class PasswordTooCommon(Refusal):
    """This password is easy to guess: it is common, repeats itself, or is made of your names."""


def normal(password: str) -> str:
    """Return ``password`` in Unicode form NFC, so that the same keys typed on two systems are the same password."""
    return unicodedata.normalize("NFC", password)


def _core(text: str) -> str:
    """Return ``text`` without the digits and symbols around it; the whole where they carry the weight.

    They are taken off where they are at most half of the text, or run along the digits, or repeat themselves.
    """
    core = text.strip("".join({char for char in text if not char.isalpha()}))
    before, _, after = text.partition(core) if core else ("", "", "")
    if core and (2 * len(core) >= len(text) or all(_is_trivial(part) for part in (before, after))):
        return core
    return text


def _is_trivial(text: str) -> bool:
    return len(text) <= CONTEXT_CHARS_MIN or len(_unit(text)) <= 2 or _is_sequence(text)


def _unit(text: str) -> str:
    """Return the shortest text that, repeated, gives ``text``."""
    at = (text + text).find(text, 1)
    return text[:at]


def _plain(text: str) -> str:
    return "".join(char for char in text if char.isalnum())


def folded(password: str) -> frozenset[str]:
    """Return the plain words that ``password`` dresses up, as the blocklist holds them.

    Capital letters, look-alike characters, separators, repetition and a rim of digits and symbols are undone.
    """
    lower = password.casefold()
    forms = {lower, lower.translate(_LOOKS_LIKE)}
    forms |= {_core(form) for form in tuple(forms)}
    forms |= {core.translate(_LOOKS_LIKE) for core in tuple(forms)}
    forms |= {_plain(form) for form in tuple(forms)}
    return frozenset(forms | {_unit(form) for form in forms if form})


def _is_sequence(text: str) -> bool:
    """Tell whether ``text`` runs along the alphabet, the digits or a keyboard, either way."""
    return any(text in row or text[::-1] in row for row in _SEQUENCES)


def too_common(password: str, *, blocked: Collection[str], names: Iterable[str]) -> bool:
    """Tell whether ``password`` is easy to guess.

    Args:
        password: In form NFC.
        blocked: The bundled blocklist.
        names: Of the person, their e-mail address, the organisation and the product.
    """
    forms = folded(password)
    context = {_plain(part) for name in names for part in _parts(name.casefold())}
    context = {part for part in context if len(part) >= CONTEXT_CHARS_MIN}
    return any(
        form in blocked or form in context or _is_sequence(form) or len(_unit(form)) <= 2 or _made_of(form, context)
        for form in forms
        if form
    )


def _parts(name: str) -> Iterable[str]:
    yield name
    yield from name.replace("@", " ").replace(".", " ").replace("-", " ").replace("_", " ").split()


def _made_of(form: str, names: Collection[str]) -> bool:
    """Tell whether next to nothing is left of ``form`` when ``names`` are taken out."""
    left = form
    for name in sorted(names, key=len, reverse=True):
        left = left.replace(name, "")
    return left != form and _is_trivial(left)


def check(password: str, *, second_factor: bool, blocked: Collection[str], names: Iterable[str]) -> str:
    """Return ``password`` in the form to hash.

    Args:
        password: As typed.
        second_factor: The person signs in with a second factor, so eight characters do.
        blocked: The bundled blocklist.
        names: Of the person, their e-mail address and the organisation; a password made of them is refused.

    Raises:
        PasswordTooShort: It has fewer than 15 characters, or 8 beside a second factor.
        PasswordTooLong: It has more than 128.
        PasswordTooCommon: It is on the blocklist, repeats itself, runs along a keyboard, or is made of names.
    """
    password = normal(password)
    chars_min = WITH_SECOND_CHARS_MIN if second_factor else ALONE_CHARS_MIN
    if len(password) < chars_min:
        raise PasswordTooShort(chars_min)
    if len(password) > CHARS_MAX:
        raise PasswordTooLong(CHARS_MAX)
    if too_common(password, blocked=blocked, names=(*names, "bursar")):
        raise PasswordTooCommon
    return password
