"""The smaller FOCUS datasets: contract commitments (1.3, 1.4), invoice details and billing periods (1.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bursar.connectors.bills.columns import Lines, by_unique
from bursar.connectors.bills.focus import NULLS, currency_or_default, provider_of
from bursar.connectors.bills.source import header_of, key_of, open_source
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import (
    BILLING_PERIOD_LINES,
    CONTRACT_COMMITMENT_LINES,
    INVOICE_DETAIL_LINES,
    DocumentKind,
    LineSchema,
    Parsed,
)


@dataclass(frozen=True)
class FocusDataset:
    """One of the datasets around cost and usage.

    Attributes:
        name: The format's id.
        title: What a person calls it.
        schema: What its lines become.
        signature: Columns that together no other dataset has.
        text: Bursar column from FOCUS column.
        money: Bursar column from FOCUS column, exact decimals.
        days: Bursar column from FOCUS column, days.
        instants: Bursar column from FOCUS column, instants.
        provider: FOCUS column that names the provider, for schemas that keep one.
    """

    name: str
    title: str
    schema: LineSchema
    signature: tuple[str, ...]
    text: Mapping[str, str]
    money: Mapping[str, str]
    days: Mapping[str, str]
    instants: Mapping[str, str]
    provider: str = ""
    kind: DocumentKind = DocumentKind.REFERENCE

    def sniff(self, head: Head) -> float:
        """Return 0.99 when the columns that only this dataset has are there and those of cost and usage are not."""
        keys = header_of(head)
        return 0.99 if keys >= {key_of(name) for name in self.signature} and "chargeperiodstart" not in keys else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one file; ``options``: ``currency`` where the file has no such column."""
        source = open_source(document, nulls=NULLS)
        missing = [name for name in self.signature if not source.has(name)]
        if missing:
            raise Invalid(f"{document.name} has no column {missing[0]}", f"Export {self.title} with all its columns.")
        lines = Lines(source, self.schema)
        for target, name in self.text.items():
            lines.text(target, name)
        for target, name in self.money.items():
            lines.money(target, name)
        for target, name in self.days.items():
            lines.day(target, name)
        for target, name in self.instants.items():
            lines.instant(target, name)
        if self.provider and (named := lines.raw_text(self.provider, "InvoiceIssuerName")) is not None:
            lines.put("provider", by_unique(named, provider_of))
        hint = ""
        if "currency" in self.schema.columns:
            hint = currency_or_default(lines, options, "BillingCurrency")
        labels = {**self.text, **self.money, **self.days, **self.instants, "currency": "BillingCurrency"}
        frame = lines.finish(labels=labels)
        return Parsed(self.schema, frame, problems=source.problems, notes=source.notes, currency_hint=hint)


INVOICE_DETAIL = FocusDataset(
    name="focus-invoice-detail",
    title="FOCUS invoice details",
    schema=INVOICE_DETAIL_LINES,
    signature=("InvoiceDetailId", "InvoiceId", "BilledCost"),
    text={
        "invoice_id": "InvoiceId",
        "invoice_detail_id": "InvoiceDetailId",
        "invoice_issuer": "InvoiceIssuerName",
        "billing_account_id": "BillingAccountId",
        "charge_category": "ChargeCategory",
        "description": "InvoiceDetailDescription",
        "payment_currency": "PaymentCurrency",
        "issue_status": "InvoiceIssueStatus",
        "payment_terms": "PaymentTerms",
        "purchase_order": "PurchaseOrderNumber",
        "reference_invoice_id": "ReferenceInvoiceId",
    },
    money={"billed_cost": "BilledCost", "payment_cost": "PaymentCurrencyBilledCost"},
    days={
        "billing_period_start": "BillingPeriodStart",
        "billing_period_end": "BillingPeriodEnd",
        "issue_day": "InvoiceIssueDate",
        "due_day": "PaymentDueDate",
    },
    instants={"last_updated": "InvoiceDetailLastUpdated"},
)

CONTRACT_COMMITMENT = FocusDataset(
    name="focus-contract-commitment",
    title="FOCUS contract commitments",
    schema=CONTRACT_COMMITMENT_LINES,
    signature=("ContractCommitmentId", "ContractCommitmentPeriodStart"),
    text={
        "contract_id": "ContractId",
        "contract_commitment_id": "ContractCommitmentId",
        "invoice_issuer": "InvoiceIssuerName",
        "category": "ContractCommitmentCategory",
        "type": "ContractCommitmentType",
        "description": "ContractCommitmentDescription",
        "status": "ContractCommitmentLifecycleStatus",
        "payment_model": "ContractCommitmentPaymentModel",
        "unit": "ContractCommitmentUnit",
        "applicability": "ContractCommitmentApplicability",
    },
    money={
        "cost": "ContractCommitmentCost",
        "quantity": "ContractCommitmentQuantity",
        "discount_percentage": "ContractCommitmentDiscountPercentage",
    },
    days={
        "period_start": "ContractCommitmentPeriodStart",
        "period_end": "ContractCommitmentPeriodEnd",
        "contract_start": "ContractPeriodStart",
        "contract_end": "ContractPeriodEnd",
    },
    instants={"last_updated": "ContractCommitmentLastUpdated"},
    provider="ServiceProviderName",
)

BILLING_PERIOD = FocusDataset(
    name="focus-billing-period",
    title="FOCUS billing periods",
    schema=BILLING_PERIOD_LINES,
    signature=("BillingPeriodStatus", "BillingPeriodStart"),
    text={"invoice_issuer": "InvoiceIssuerName", "status": "BillingPeriodStatus"},
    money={},
    days={"start": "BillingPeriodStart", "end": "BillingPeriodEnd"},
    instants={"created": "BillingPeriodCreated", "last_updated": "BillingPeriodLastUpdated"},
)
