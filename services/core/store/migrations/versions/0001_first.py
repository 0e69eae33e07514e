"""The first tables.

They are taken from `schema` while nothing has been released; after a release this file is frozen
and changes come as new revisions.
"""

from __future__ import annotations

import uuid

from alembic import op

from services.core.store import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    connection = op.get_bind()
    schema.metadata.create_all(connection, checkfirst=False)
    op.bulk_insert(schema.meta, [{"name": "store", "value": uuid.uuid4().hex}])
    op.bulk_insert(
        schema.counters, [{"name": name, "value": 0} for name in ("users", "calls", "health")]
    )
    op.bulk_insert(
        schema.version,
        [
            {"table_name": name, "table_version": number}
            for name, number in schema.KAMAILIO_VERSIONS.items()
        ],
    )


def downgrade() -> None:
    schema.metadata.drop_all(op.get_bind())
