"""Bills of cloud, SaaS and AI vendors: one module per format, all of them into the one cost line schema."""

from bursar.connectors.bills.focus import FOCUS
from bursar.kernel.connector import FileConnector

BILL_FORMATS: tuple[FileConnector, ...] = (FOCUS,)
"""Every format, most specific first."""
