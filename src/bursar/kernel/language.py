"""What a language model is asked and what it says, in the one shape that features and vendors' connectors share; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """One request.

    Attributes:
        model: The vendor's name of the model.
        standing: Instructions that are the same for many questions, so that the vendor may cache them.
        data: What is asked about; never instructions.
        schema: JSON schema that the answer must have.
        tokens_max: Most tokens of the answer.
    """

    model: str
    standing: str
    data: str
    schema: Mapping[str, Any]
    tokens_max: int


class Ended(StrEnum):
    """How an answer ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    CUT = "cut"
    """The answer was longer than allowed."""
    MALFORMED = "malformed"
    """The answer is not JSON."""
    FAILED = "failed"
    """The vendor did not do it (an error, or it expired in its batch), and charges nothing."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the vendor counted, in tokens."""

    read: int = 0
    written: int = 0
    cache_read: int = 0
    cache_written: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """What came back: ``value`` is the JSON of an answer and None for every other end; ``why`` tells those in words."""

    ended: Ended
    value: Any = None
    usage: Usage = Usage()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the vendor lists it: its name, when it was made (aware), how many questions it holds, whether it ended."""

    name: str
    made_at: datetime
    questions: int
    ended: bool


class Vendor(Protocol):
    """One vendor of language models.

    Every method raises ``Answered`` where the vendor refused and did nothing, and ``NoAnswer`` where nobody can know.
    """

    @property
    def name(self) -> str:
        """Such as ``anthropic``."""

    async def ask(self, question: Question) -> Said:
        """Ask now."""

    async def submit(self, questions: Mapping[str, Question]) -> str:
        """Ask many for whenever it suits the vendor, each under an id; return the batch's name there."""

    async def collect(self, batch: str) -> Mapping[str, Said] | None:
        """Return what became of each question of a batch by its id; None while it is being worked on."""

    async def batches(self, since: datetime) -> Sequence[Batch]:
        """Return the batches made since an instant, whoever of this key made them."""

    async def models(self) -> frozenset[str]:
        """Return the models that the key may use."""
