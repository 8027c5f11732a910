"""Book bank lines into the ledger: what changed and is not booked yet, and which transfer stands for which line.

Additive: new tables, and triggers that only add rows to one of them; the old version neither reads nor misses them. Lines
derived before are queued by the first `POST /v1/bank/postings?again=true`.
"""

from alembic import op

from bursar.infra.schema import tenant_policy

revision = "banking_posting"
down_revision = "lake_2"
branch_labels = None
depends_on = None

TABLES = (
    """create table bank_unposted (
        org uuid not null, number bigint generated always as identity, transaction uuid not null,
        constraint bank_unposted_pkey primary key (org, number))""",
    """create table bank_posting (
        org uuid not null, transaction uuid not null, place integer not null, generation integer not null,
        content bytea, transfer uuid, day date, refusal text not null default '',
        constraint bank_posting_pkey primary key (org, transaction, place))""",
    "create index bank_posting_refused on bank_posting (org, transaction) where refusal <> ''",
    """create table bank_opening (
        org uuid not null, account text not null, currency char(3) not null, generation integer not null,
        amount bigint not null, day date not null, transfer uuid, refusal text not null default '',
        constraint bank_opening_pkey primary key (org, account, currency))""",
)
NAMES = ("bank_unposted", "bank_posting", "bank_opening")

MARK = """
create function bank_transaction_unposted() returns trigger language plpgsql as $$
begin
    insert into bank_unposted (org, transaction) select org, id from changed where dataset = 'bank';
    return null;
end $$
"""


def upgrade() -> None:
    """Create the tables, and note every transaction that is added or changed."""
    for statement in TABLES:
        op.execute(statement)
    for name in NAMES:
        tenant_policy(op, name)
    op.execute(MARK)
    for event in ("insert", "update"):
        op.execute(
            f"create trigger bank_transaction_{event}_unposted after {event} on bank_transaction"
            " referencing new table as changed for each statement execute function bank_transaction_unposted()"
        )


def downgrade() -> None:
    """Drop what :func:`upgrade` made."""
    for event in ("insert", "update"):
        op.execute(f"drop trigger bank_transaction_{event}_unposted on bank_transaction")
    op.execute("drop function bank_transaction_unposted()")
    for name in reversed(NAMES):
        op.drop_table(name)
