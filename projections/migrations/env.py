"""What Alembic runs for each command: our connection, our tables, our version table."""

from alembic import context

from projections.migrate import VERSION_TABLE, of_ours, tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables(),
    version_table=VERSION_TABLE,
    include_object=of_ours,
)
with context.begin_transaction():
    context.run_migrations()
