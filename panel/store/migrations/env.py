"""Alembic's entry: `panel.store.db.upgrade` hands the connection in."""

from alembic import context

import panel.store.figures
import panel.store.terminals  # noqa: F401  their tables belong to the metadata
from panel.store.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
