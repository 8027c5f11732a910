"""Names: the key under which spellings meet, blocks that bring likely pairs together, and a certainty for a pair.

The certainty is not learnt; it is a stated scale: 1 for equal keys, 0.97 for the same letters spaced otherwise, 0.96 for
the same words in another order, below that a mean of shared trigrams and words. Names whose numbers differ (branches,
schools, people's flats) never pass 0.5.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

NAME_CHARS_MAX = 300
"""Longer names are cut for comparing; they are kept whole."""

CERTAIN = 0.95
"""From here on a name is taken for the same party without asking."""

LIKELY = 0.72
"""From here on a pair is suggested to a person."""

BLOCK_MAX = 60
"""Most names compared within one block."""

_WRAPPERS = re.compile(
    r"^(?:SQ ?\*|SQU\*|TST\*|PAYPAL ?\*|PP ?\*|SUMUP ?\*|ZETTLE[ _]\*?|IZ ?\*|STRIPE ?\*|GOOGLE ?\*|AMZN MKTP|WWW\.|"
    r"(?:POS|EFTPOS|CARD|VISA|MASTERCARD|DEBIT CARD) (?:PURCHASE|PAYMENT|SALE|DEBIT)?)\s*"
)
_NOISE = re.compile(
    r"\b(?:\d{1,2}[./-]\d{1,2}(?:[./-]\d{2,4})?|\d{1,2}:\d{2}(?::\d{2})?|X{2,}\d{2,4}|\*+\d{2,4}|\d{6,})\b"
)
_LEGAL = frozenset(
    [
        *(
            "LTD",
            "LIMITED",
            "PLC",
            "LLC",
            "LLP",
            "LP",
            "INC",
            "INCORPORATED",
            "CORP",
            "CORPORATION",
            "CO",
            "COMPANY",
            "GMBH",
            "AG",
            "KG",
            "OHG",
        ),
        *(
            "UG",
            "EV",
            "SA",
            "SAS",
            "SARL",
            "SASU",
            "EURL",
            "BV",
            "NV",
            "VOF",
            "SPA",
            "SRL",
            "SL",
            "SLU",
            "LDA",
            "OY",
            "OYJ",
            "AB",
            "AS",
            "ASA",
            "APS",
        ),
        *("SRO", "ZOO", "KFT", "PTY", "PVT", "PTE", "MBH", "SE", "DAC", "CIC", "THE"),
    ]
)
_SPELT = {"&": " AND ", "+": " AND "}
_WEAK = frozenset(
    {"AND", "OF", "FOR", "MR", "MRS", "MS", "DR", "UK", "GROUP", "SERVICES", "SERVICE", "DE", "LA", "DER", "DIE", "VAN"}
)


def key_of(name: str) -> str:
    """Return the key of a name: upper case, no accents, wrappers of card terminals, dates, card numbers or legal forms.

    A name that consists of nothing else keeps its letters, so that no two different names fall together as empty.
    """
    text = unicodedata.normalize("NFKD", name[:NAME_CHARS_MAX]).upper()
    text = "".join(c for c in text if not unicodedata.combining(c))
    plain = _WRAPPERS.sub("", text.strip(), count=1) or text
    words = _words(_NOISE.sub(" ", plain)) or _words(plain)
    kept = [word for word in words if word not in _LEGAL]
    return " ".join(kept or words)


def _words(text: str) -> list[str]:
    for sign, spelt in _SPELT.items():
        text = text.replace(sign, spelt)
    text = re.sub(r"(?<=\w)['’.](?=\w)", "", text)
    return re.sub(r"[^\w]+", " ", text.replace("_", " ")).split()


def blocks_of(key: str) -> list[str]:
    """Return the blocks of a key: its first telling words, and the first letters of all; names that share one are compared."""
    words = [word for word in key.split() if word not in _WEAK and not word.isdigit()]
    squashed = "".join(key.split())
    return sorted({*(f"w:{word}" for word in words[:2] if len(word) > 2), f"p:{squashed[:6]}"}) if squashed else []


@dataclass(frozen=True)
class Spelling:
    """A key with what comparing it needs."""

    key: str

    @cached_property
    def words(self) -> frozenset[str]:
        """The words."""
        return frozenset(self.key.split())

    @cached_property
    def numbers(self) -> frozenset[str]:
        """The words that are numbers."""
        return frozenset(word for word in self.words if any(c.isdigit() for c in word))

    @cached_property
    def trigrams(self) -> frozenset[str]:
        """Three letters in a row, the word boundaries included."""
        padded = f" {self.key} "
        return frozenset(padded[i : i + 3] for i in range(len(padded) - 2))


def certainty(one: Spelling, other: Spelling) -> float:
    """Return how surely two spellings are one party, from 0 to 1; see the module for the scale."""
    if one.key == other.key:
        return 1.0
    alike = _alike(one, other)
    return min(alike, 0.5) if one.numbers != other.numbers else alike


def _alike(one: Spelling, other: Spelling) -> float:
    if one.key.replace(" ", "") == other.key.replace(" ", ""):
        return 0.97
    if one.words == other.words:
        return 0.96
    grams = 2 * len(one.trigrams & other.trigrams) / (len(one.trigrams) + len(other.trigrams))
    shared = len(one.words & other.words) / len(one.words | other.words)
    return min(0.94, 0.65 * grams + 0.35 * max(shared, grams))


@dataclass
class Index:
    """Spellings by block, for comparing within blocks only; grows as names are met."""

    _blocks: dict[str, dict[str, Spelling]] = field(default_factory=dict)

    def add(self, key: str, blocks: Iterable[str]) -> None:
        """Add a spelling; a full block keeps its first :data:`BLOCK_MAX`."""
        spelling = Spelling(key)
        for block in blocks:
            inside = self._blocks.setdefault(block, {})
            if len(inside) < BLOCK_MAX:
                inside.setdefault(key, spelling)

    def best(self, key: str, blocks: Iterable[str]) -> tuple[str, float]:
        """Return the most alike spelling met and its certainty; ("", 0) when none shares a block."""
        spelling = Spelling(key)
        candidates = {found.key: found for block in blocks for found in self._blocks.get(block, {}).values()}
        scored = ((certainty(spelling, found), found.key) for found in candidates.values())
        score, best = max(scored, default=(0.0, ""))
        return best, score
