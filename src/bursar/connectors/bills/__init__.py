"""Bills of cloud, SaaS and AI vendors: one module per format, all of them into the one cost line schema."""

from bursar.connectors.bills.ai_usage import ANTHROPIC, OPENAI
from bursar.connectors.bills.aws_cur import AWS_CUR
from bursar.connectors.bills.azure import AZURE
from bursar.connectors.bills.focus import FOCUS
from bursar.connectors.bills.focus_reference import BILLING_PERIOD, CONTRACT_COMMITMENT, INVOICE_DETAIL
from bursar.connectors.bills.gcp import GCP
from bursar.connectors.bills.oci import OCI
from bursar.kernel.connector import FileConnector

BILL_FORMATS: tuple[FileConnector, ...] = (
    FOCUS,
    INVOICE_DETAIL,
    CONTRACT_COMMITMENT,
    BILLING_PERIOD,
    AWS_CUR,
    AZURE,
    GCP,
    OCI,
    OPENAI,
    ANTHROPIC,
)
"""Every format; the one that is most certain of a document reads it."""
