"""What was measured rather than billed: how busy machines are, and how much business was done."""

from bursar.connectors.measures.azure_metrics import AZURE_METRICS
from bursar.connectors.measures.cloudwatch import CLOUDWATCH
from bursar.connectors.measures.compute_optimizer import COMPUTE_OPTIMIZER
from bursar.connectors.measures.gcp_monitoring import GCP_MONITORING
from bursar.connectors.measures.tables import QUANTITIES, UTILISATION
from bursar.kernel.connector import FileConnector

MEASURE_FORMATS: tuple[FileConnector, ...] = (
    CLOUDWATCH,
    COMPUTE_OPTIMIZER,
    AZURE_METRICS,
    GCP_MONITORING,
    UTILISATION,
    QUANTITIES,
)
"""Every format; the one that is most certain of a document reads it."""
