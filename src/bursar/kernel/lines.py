"""The few line schemas every connector writes, and what parsing a document returns.

A schema is a flat table; names follow FOCUS and ISO 20022 in snake_case. Costs and amounts are ``Decimal(38, 15)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

import polars as pl

from bursar.kernel.errors import Problem

DECIMAL = pl.Decimal(38, 15)
"""Exact source detail."""

INSTANT = pl.Datetime("us", "UTC")

REFUSED = "_refused"
"""Name of the optional text column of :attr:`Parsed.lines`: null in a readable row, else ``column|what|fix``."""


@dataclass(frozen=True, slots=True)
class LineSchema:
    """A named flat table.

    Attributes:
        name: Dataset name in the lake (``cost``, ``bank`` …).
        columns: Column name to Polars type, in file order.
        required: Columns that are never null in a taken row.
        day: The column (date or instant) that partitions it by month.
        amount: The column whose sum per currency is the control total of a batch; empty where the table holds no money.
        scope: Columns that name the source account; a newer export replaces what it covers within one scope.
        identity: Columns that make two rows of overlapping documents the same row; empty where a newer export replaces
            the periods it covers instead (bills).
        source_id: Columns with the source's own id of a row; the second of them is the id. It catches a row whose text
            changed since; alone it proves nothing, because banks renumber.
        coarse: Columns that identify a row across different formats of the same account.
        billing_month: Column that names the billing period where it differs from ``day``.
    """

    name: str
    columns: dict[str, pl.DataType]
    required: frozenset[str]
    day: str
    amount: str
    scope: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    source_id: tuple[str, ...] = ()
    coarse: tuple[str, ...] = ()
    billing_month: str = ""


_TEXT = pl.String()

COST_LINES = LineSchema(
    name="cost",
    columns={
        "row": pl.Int64(),
        "provider": _TEXT,
        "billing_account_id": _TEXT,
        "billing_account_name": _TEXT,
        "sub_account_id": _TEXT,
        "sub_account_name": _TEXT,
        "billing_period_start": pl.Date(),
        "billing_period_end": pl.Date(),
        "charge_period_start": INSTANT,
        "charge_period_end": INSTANT,
        "charge_category": _TEXT,
        "charge_class": _TEXT,
        "charge_frequency": _TEXT,
        "charge_description": _TEXT,
        "service_name": _TEXT,
        "service_category": _TEXT,
        "service_subcategory": _TEXT,
        "sku_id": _TEXT,
        "sku_price_id": _TEXT,
        "sku_meter": _TEXT,
        "operation": _TEXT,
        "resource_id": _TEXT,
        "resource_name": _TEXT,
        "resource_type": _TEXT,
        "instance_type": _TEXT,
        "region_id": _TEXT,
        "region_name": _TEXT,
        "availability_zone": _TEXT,
        "pricing_category": _TEXT,
        "pricing_quantity": DECIMAL,
        "pricing_unit": _TEXT,
        "consumed_quantity": DECIMAL,
        "consumed_unit": _TEXT,
        "list_unit_price": DECIMAL,
        "contracted_unit_price": DECIMAL,
        "list_cost": DECIMAL,
        "contracted_cost": DECIMAL,
        "billed_cost": DECIMAL,
        "effective_cost": DECIMAL,
        "commitment_discount_id": _TEXT,
        "commitment_discount_name": _TEXT,
        "commitment_discount_category": _TEXT,
        "commitment_discount_type": _TEXT,
        "commitment_discount_status": _TEXT,
        "commitment_discount_quantity": DECIMAL,
        "commitment_discount_unit": _TEXT,
        "invoice_id": _TEXT,
        "invoice_issuer": _TEXT,
        "publisher": _TEXT,
        "currency": _TEXT,
        "tags": _TEXT,
    },
    required=frozenset({"row", "provider", "charge_period_start", "charge_category", "billed_cost", "currency"}),
    day="charge_period_start",
    amount="billed_cost",
    scope=("provider", "billing_account_id"),
    billing_month="billing_period_start",
)
"""One charge of a cloud, SaaS or AI vendor's bill; FOCUS 1.2 names in snake_case.

``provider`` is lower case (``aws``, ``azure``, ``gcp``, ``oci``, ``openai`` …); ``charge_category`` is one of Usage,
Purchase, Tax, Credit, Adjustment; ``tags`` is a JSON object as text; ``sku_meter`` is the vendor's usage type or meter;
``effective_cost`` is the amortised cost.
"""

BANK_LINES = LineSchema(
    name="bank",
    columns={
        "row": pl.Int64(),
        "statement": pl.Int64(),
        "account": _TEXT,
        "booking_date": pl.Date(),
        "value_date": pl.Date(),
        "amount": DECIMAL,
        "currency": _TEXT,
        "status": _TEXT,
        "description": _TEXT,
        "counterparty_name": _TEXT,
        "counterparty_account": _TEXT,
        "counterparty_bank": _TEXT,
        "counterparty_ids": _TEXT,
        "reference": _TEXT,
        "end_to_end_id": _TEXT,
        "bank_id": _TEXT,
        "transaction_code": _TEXT,
        "category": _TEXT,
        "department": _TEXT,
        "balance_after": DECIMAL,
    },
    required=frozenset({"row", "statement", "account", "booking_date", "amount", "currency", "status"}),
    day="booking_date",
    amount="amount",
    scope=("account",),
    identity=("account", "booking_date", "amount", "currency", "status", "description", "reference"),
    source_id=("account", "bank_id", "booking_date", "amount", "currency"),
    coarse=("account", "booking_date", "amount", "currency"),
)
"""One movement on a bank, card or wallet account, as seen by its holder: money in is positive, money out negative.

``statement`` indexes :attr:`Parsed.statements`; ``account`` is the IBAN or the bank's account number; ``bank_id`` is the
bank's own id of the entry (FITID, AcctSvcrRef); ``status`` is ``booked`` or ``pending``; ``counterparty_ids`` are other
identifiers of the counterparty, each ``scheme:value`` (vat, tax, lei, company, card_acceptor, domain, email, creditor) without
blanks, separated by a blank.
"""

PAYMENT_LINES = LineSchema(
    name="payment",
    columns={
        "row": pl.Int64(),
        "day": pl.Date(),
        "amount": DECIMAL,
        "currency": _TEXT,
        "supplier": _TEXT,
        "supplier_id": _TEXT,
        "description": _TEXT,
        "category": _TEXT,
        "department": _TEXT,
        "reference": _TEXT,
    },
    required=frozenset({"row", "day", "amount", "currency"}),
    day="day",
    amount="amount",
    identity=("day", "amount", "currency", "supplier", "description", "category", "department", "reference"),
    coarse=(),
)
"""One payment of an accounts-payable or open-spending export; money out is positive as in the source."""


INVOICE_DETAIL_LINES = LineSchema(
    name="invoice_detail",
    columns={
        "row": pl.Int64(),
        "invoice_id": _TEXT,
        "invoice_detail_id": _TEXT,
        "invoice_issuer": _TEXT,
        "billing_account_id": _TEXT,
        "billing_period_start": pl.Date(),
        "billing_period_end": pl.Date(),
        "charge_category": _TEXT,
        "description": _TEXT,
        "billed_cost": DECIMAL,
        "currency": _TEXT,
        "payment_cost": DECIMAL,
        "payment_currency": _TEXT,
        "issue_day": pl.Date(),
        "issue_status": _TEXT,
        "due_day": pl.Date(),
        "payment_terms": _TEXT,
        "purchase_order": _TEXT,
        "reference_invoice_id": _TEXT,
        "last_updated": INSTANT,
    },
    required=frozenset({"row", "invoice_id", "billing_period_start", "billed_cost", "currency"}),
    day="billing_period_start",
    amount="billed_cost",
    scope=("invoice_issuer", "billing_account_id"),
)
"""One line of a vendor's invoice: FOCUS 1.4 InvoiceDetail in snake_case."""

CONTRACT_COMMITMENT_LINES = LineSchema(
    name="contract_commitment",
    columns={
        "row": pl.Int64(),
        "contract_id": _TEXT,
        "contract_commitment_id": _TEXT,
        "provider": _TEXT,
        "invoice_issuer": _TEXT,
        "category": _TEXT,
        "type": _TEXT,
        "description": _TEXT,
        "status": _TEXT,
        "payment_model": _TEXT,
        "period_start": pl.Date(),
        "period_end": pl.Date(),
        "contract_start": pl.Date(),
        "contract_end": pl.Date(),
        "cost": DECIMAL,
        "currency": _TEXT,
        "quantity": DECIMAL,
        "unit": _TEXT,
        "discount_percentage": DECIMAL,
        "applicability": _TEXT,
        "last_updated": INSTANT,
    },
    required=frozenset({"row", "contract_commitment_id", "period_start", "currency"}),
    day="period_start",
    amount="cost",
    scope=("provider", "contract_commitment_id"),
)
"""One commitment of a contract: FOCUS 1.3 and 1.4 ContractCommitment in snake_case."""

BILLING_PERIOD_LINES = LineSchema(
    name="billing_period",
    columns={
        "row": pl.Int64(),
        "invoice_issuer": _TEXT,
        "start": pl.Date(),
        "end": pl.Date(),
        "status": _TEXT,
        "created": INSTANT,
        "last_updated": INSTANT,
    },
    required=frozenset({"row", "start", "status"}),
    day="start",
    amount="",
    scope=("invoice_issuer",),
)
"""Whether a vendor's billing period is open or closed: FOCUS 1.4 BillingPeriod; it holds no money."""


UTILISATION_LINES = LineSchema(
    name="utilisation",
    columns={
        "row": pl.Int64(),
        "provider": _TEXT,
        "sub_account_id": _TEXT,
        "region_id": _TEXT,
        "resource_id": _TEXT,
        "resource_name": _TEXT,
        "instance_type": _TEXT,
        "metric": _TEXT,
        "measured_at": INSTANT,
        "days": pl.Int64(),
        "average": DECIMAL,
        "maximum": DECIMAL,
        "p95": DECIMAL,
        "p99": DECIMAL,
    },
    required=frozenset({"row", "provider", "resource_id", "metric", "measured_at"}),
    day="measured_at",
    amount="",
    scope=("provider", "sub_account_id", "metric"),
)
"""How much of a machine was used around an instant: ``metric`` is ``cpu`` or ``memory``, values are percent, 0 to 100.

``days`` is set where one row sums up a whole look-back of so many days that ends at ``measured_at``. It holds no money.
"""

MEASURE_LINES = LineSchema(
    name="measure",
    columns={
        "row": pl.Int64(),
        "measure": _TEXT,
        "target": _TEXT,
        "day": pl.Date(),
        "quantity": DECIMAL,
        "unit": _TEXT,
    },
    required=frozenset({"row", "measure", "day", "quantity"}),
    day="day",
    amount="",
    scope=("measure",),
)
"""How much business was done on a day (orders, users, requests): what a unit cost divides by, and what usage weights are.

``target`` says whose it is, in the words of the dimension that cost is split by; it may be empty. It holds no money.
"""


class DocumentKind(StrEnum):
    """What a document is about; decides which part takes its lines."""

    BILL = "bill"
    BANK = "bank"
    PAYMENTS = "payments"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Statement:
    """One account statement inside a bank document; balances are None where the file has none."""

    account: str
    currency: str
    opening: Decimal | None = None
    closing: Decimal | None = None
    opening_day: date | None = None
    closing_day: date | None = None
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a connector read from one document.

    Attributes:
        schema: The line schema of ``lines``.
        lines: A lazy frame with exactly the schema's columns, plus optionally :data:`REFUSED`.
        problems: Problems that are not tied to a row of ``lines`` (or whose row could not be placed in it).
        statements: Bank statements with their balances; empty for other kinds.
        notes: Plain sentences a person should read (an assumption made, an older version detected …).
        currency_hint: Set where the document names no currency at all and a default was taken.
    """

    schema: LineSchema
    lines: pl.LazyFrame
    problems: Sequence[Problem] = field(default_factory=tuple)
    statements: Sequence[Statement] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)
    currency_hint: str = ""
