"""Alembic's entry: runs migrations on the connection that :mod:`bursar.infra.migrate` hands over, one transaction each."""

from alembic import context

from bursar.infra.db import metadata


def run() -> None:
    """Migrate on the given connection; ``lock_timeout`` is set by the caller and survives each transaction."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=False,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
