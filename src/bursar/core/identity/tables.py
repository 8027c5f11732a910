"""Tables of identity.

They lie outside of row-level security by organisation alone, because a credential is looked up before its organisation is
known. Those with a column ``org`` are *confined* instead (see the migration): inside a transaction of an organisation only
its own rows are visible and writable; a transaction without an organisation (sign-in, authentication) sees all.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import global_table

_INSTANT = sa.DateTime(timezone=True)
_CONFINED = "confined by organisation; looked up by a secret before the organisation is known"

organisation = global_table(
    "identity_organisation",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("changed_at", _INSTANT, nullable=False),
    sa.Column("is_local", sa.Boolean, nullable=False),
    sa.Column("purge_after", _INSTANT),
    sa.Column("purged_at", _INSTANT),
    reason="the list of organisations itself; confined to the row of the own one inside an organisation",
)
"""``purge_after``: deleted, and erased for good from then on; ``purged_at``: erased, only the id is left."""

person = global_table(
    "identity_person",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text),
    sa.Column("password_changed_at", _INSTANT),
    sa.Column("second_factor", sa.LargeBinary),
    sa.Column("second_factor_draft", sa.LargeBinary),
    sa.Column("second_factor_step", sa.BigInteger),
    sa.Column("is_local", sa.Boolean, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    reason="a person may belong to several organisations; read by id or address only",
)
"""``email`` is normalised and in small letters. ``second_factor`` is sealed; its last used step makes a code work once."""

membership = global_table(
    "identity_membership",
    sa.Column("org", sa.Uuid, sa.ForeignKey(organisation.c.id), primary_key=True),
    sa.Column("person", sa.Uuid, sa.ForeignKey(person.c.id), primary_key=True, index=True),
    sa.Column("roles", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("since", _INSTANT, nullable=False),
    sa.Column("changed_at", _INSTANT, nullable=False),
    reason=_CONFINED,
)

registration = global_table(
    "identity_registration",
    sa.Column("token_hash", sa.LargeBinary, primary_key=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("expires_at", _INSTANT, nullable=False, index=True),
    sa.Column("used_at", _INSTANT),
    reason="somebody who is not yet anybody; read by the hash of a mailed token only",
)

reset = global_table(
    "identity_reset",
    sa.Column("token_hash", sa.LargeBinary, primary_key=True),
    sa.Column("person", sa.Uuid, sa.ForeignKey(person.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("expires_at", _INSTANT, nullable=False),
    sa.Column("used_at", _INSTANT),
    reason="belongs to a person, not an organisation; read by the hash of a mailed token only",
)

recovery = global_table(
    "identity_recovery",
    sa.Column("person", sa.Uuid, sa.ForeignKey(person.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("code_hash", sa.LargeBinary, primary_key=True),
    sa.Column("used_at", _INSTANT),
    reason="belongs to a person, not an organisation; read by person and hash only",
)

attempt = global_table(
    "identity_attempt",
    sa.Column("subject", sa.LargeBinary, primary_key=True),
    sa.Column("since", _INSTANT, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("at", _INSTANT, nullable=False, index=True),
    reason="tries by hash of account name or address; holds nobody's data",
)

invitation = global_table(
    "identity_invitation",
    sa.Column("org", sa.Uuid, sa.ForeignKey(organisation.c.id), primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("roles", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("invited_by", sa.Text, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("expires_at", _INSTANT, nullable=False),
    sa.Column("used_at", _INSTANT),
    reason=_CONFINED,
)

session = global_table(
    "identity_session",
    sa.Column("org", sa.Uuid, sa.ForeignKey(organisation.c.id), primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("person", sa.Uuid, sa.ForeignKey(person.c.id), nullable=False, index=True),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("seen_at", _INSTANT, nullable=False),
    sa.Column("expires_at", _INSTANT, nullable=False),
    sa.Column("idle_s", sa.Integer, nullable=False),
    sa.Column("fresh_at", _INSTANT),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    reason=_CONFINED,
)
"""``fresh_at``: when a password or code was last given. A revoked session is a deleted row."""

family = global_table(
    "identity_family",
    sa.Column("org", sa.Uuid, sa.ForeignKey(organisation.c.id), primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("person", sa.Uuid, sa.ForeignKey(person.c.id), nullable=False, index=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("signed_in_at", _INSTANT, nullable=False),
    sa.Column("expires_at", _INSTANT, nullable=False),
    sa.Column("revoked_at", _INSTANT),
    sa.Column("reason", sa.Text, nullable=False),
    reason=_CONFINED,
)
"""One log-in of a program: all refresh tokens that came out of it, one after the other."""

refresh = global_table(
    "identity_refresh",
    sa.Column("org", sa.Uuid, primary_key=True),
    sa.Column("token_hash", sa.LargeBinary, primary_key=True),
    sa.Column("family", sa.Uuid, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("used_at", _INSTANT),
    sa.ForeignKeyConstraint(["org", "family"], [family.c.org, family.c.id]),
    sa.UniqueConstraint("token_hash"),
    sa.Index(None, "org", "family"),
    reason=_CONFINED,
)

key = global_table(
    "identity_key",
    sa.Column("org", sa.Uuid, sa.ForeignKey(organisation.c.id), primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("lineage", sa.Uuid, nullable=False),
    sa.Column("slot", sa.SmallInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("scopes", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("networks", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("made_by", sa.Uuid, sa.ForeignKey(person.c.id)),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("expires_at", _INSTANT, nullable=False),
    sa.Column("used_at", _INSTANT),
    sa.Column("used_from", sa.Text, nullable=False),
    sa.Column("revoked_at", _INSTANT),
    sa.CheckConstraint("slot in (0, 1)", name="identity_key_slot_check"),
    sa.Index(
        "identity_key_live_slot", "org", "lineage", "slot", unique=True, postgresql_where=sa.text("revoked_at is null")
    ),
    sa.UniqueConstraint("id"),
    reason=_CONFINED,
)
"""``lineage`` joins a key with its replacement; two ``slots`` of it can be live at once."""
