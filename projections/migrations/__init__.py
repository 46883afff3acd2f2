"""Alembic: the read side's tables. `projections.migrate` runs it."""
