"""Compares what a review found in the sample with what was planted in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fnmatch import fnmatch

from bursar.kernel.finding import Finding
from bursar.reports.sample.model import Planted, Truth

TOP = 20
"""A person reads the first screen: false alarms are counted there."""

SLACK = timedelta(days=31)
"""How far a finding's period may lie from the planted one."""

SUBJECT_CHARS_MIN = 6
"""A shorter subject would be found inside unrelated names."""

ANOMALY = ("*anomal*", "*spike*", "*shift*", "*change*", "*outlier*")

KINDS: dict[str, tuple[str, ...]] = {
    "bank_fee_jump": ("*fee*", "*price*", "*subscription*", *ANOMALY),
    "cancelling_pair": ("*cancel*", "*masked*", "*new*", "*vanish*", "*gone*", "*mix*", *ANOMALY),
    "changed_account": ("*account*", "*iban*", "*fraud*", "*bank_details*"),
    "cost_drift": ("*drift*", "*trend*", "*growth*", *ANOMALY),
    "cost_level_shift": ("*level*", *ANOMALY),
    "cost_spike": ANOMALY,
    "credit_ended": ("*credit*", *ANOMALY),
    "duplicate_charge": ("*duplicate*",),
    "duplicate_payment": ("*duplicate*",),
    "duplicate_subscription": ("*duplicate*", "*subscription*", "*overlap*"),
    "forgotten_subscription": ("*subscription*", "*trial*", "*recurring*"),
    "idle_address": ("*idle*", "*address*", "*unattached*", "*unused*"),
    "idle_database": ("*idle*",),
    "idle_gateway": ("*idle*",),
    "idle_load_balancer": ("*idle*",),
    "invoice_mismatch": ("*invoice*", "*mismatch*", "*reconcil*", "*unusual*", "*overpa*"),
    "low_balance": ("*balance*", "*cash*", "*runway*", "*shortfall*"),
    "missing_receipt": ("*missing*", "*overdue*", "*late*", "*recurring*"),
    "new_service": ("*new*", *ANOMALY),
    "nonproduction_nights": ("*schedul*", "*nonprod*", "*night*", "*off_hours*", "*hours*"),
    "old_snapshot": ("*snapshot*", "*obsolete*", "*old*"),
    "oversized": ("*rightsiz*", "*oversiz*"),
    "previous_generation": ("*generation*", "*obsolete*", "*moderni*"),
    "seat_creep": ("*creep*", "*seat*", "*drift*", "*growth*", "*trend*", *ANOMALY),
    "stopped_but_billed": ("*stopped*", "*unattached*", "*idle*", "*orphan*"),
    "storage_class": ("*storage*",),
    "subscription_creep": ("*creep*", "*subscription*"),
    "subscription_price_rise": ("*price*", "*subscription*"),
    "unmeasured_memory": ("*unmeasured*",),
    "unattached_disk": ("*unattached*", "*orphan*", "*disk*", "*volume*", "*idle*"),
    "unit_price_rise": ("*price*", *ANOMALY),
    "untagged_spend": ("*tag*",),
    "unused_commitment": ("*commit*", "*reserv*", "*savings_plan*"),
    "unusual_amount": ("*unusual*", "*amount*", *ANOMALY),
    "upcoming_annual_payment": ("*annual*", "*yearly*", "*upcoming*", "*recurring*", "*season*", "*renewal*", "*due*"),
    "vanished_service": ("*vanish*", "*gone*", "*missing*", "*stopp*", *ANOMALY),
}
"""Which kinds of finding answer a planted kind, as patterns."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well a review did.

    Attributes:
        found: Planted truths with the first finding that answers each.
        missed: Planted truths that no finding answers.
        false: Findings among the first :data:`TOP` that nothing in the data explains.
    """

    found: tuple[tuple[Planted, Finding], ...]
    missed: tuple[Planted, ...]
    false: tuple[Finding, ...]


def score(truth: Truth, findings: Sequence[Finding]) -> Score:
    """Compare ``findings``, in the order in which a person sees them, with what was planted."""
    answers = {planted.id: next((f for f in findings if answered(planted, f)), None) for planted in truth.planted}
    explained = (*truth.planted, *truth.known)
    return Score(
        found=tuple((planted, hit) for planted in truth.planted if (hit := answers[planted.id])),
        missed=tuple(planted for planted in truth.planted if answers[planted.id] is None),
        false=tuple(f for f in findings[:TOP] if not any(about(planted, f) for planted in explained)),
    )


def answered(planted: Planted, finding: Finding) -> bool:
    """Tell whether ``finding`` is of a kind that answers ``planted`` and is about it."""
    return any(fnmatch(finding.kind, pattern) for pattern in KINDS[planted.kind]) and about(planted, finding)


def about(planted: Planted, finding: Finding) -> bool:
    """Tell whether ``finding`` rests on the rows of ``planted``, or names its subject, at about the same time."""
    near = _near(planted, finding.period.start, finding.period.end)
    return near and (_shares_rows(planted, finding) or _names(planted, finding))


def _near(planted: Planted, start: date, end: date) -> bool:
    return start <= planted.end + SLACK and planted.start - SLACK <= end


def _shares_rows(planted: Planted, finding: Finding) -> bool:
    rows = {(place.file.rsplit("/", 1)[-1], row) for place in planted.where for row in place.rows}
    return any((row.file.rsplit("/", 1)[-1], row.row) in rows for row in finding.evidence.rows)


def _names(planted: Planted, finding: Finding) -> bool:
    text = f"{finding.subject}\n{finding.resource}\n{finding.title}".casefold()
    return any(len(name) >= SUBJECT_CHARS_MIN and name.casefold() in text for name in planted.subjects)
