"""${message}.

Safe while the old version runs: say why.
"""

import sqlalchemy as sa
from alembic import op

from bursar.infra.schema import global_grants, tenant_policy

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
