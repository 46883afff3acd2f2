"""What Alembic runs for each command: our connection, our tables, our version table."""

from alembic import context

from projections.migrate import of_ours, tables
from projections.version import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables(),
    version_table=VERSION_TABLE,
    include_object=of_ours,
)
with context.begin_transaction():
    context.run_migrations()
