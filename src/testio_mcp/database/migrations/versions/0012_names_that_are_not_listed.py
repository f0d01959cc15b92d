"""what only a test or a bug mentions is a name: it is not listed, and counts nowhere"""

import sqlalchemy as sa
from alembic import op

from testio_mcp.database.types import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("section", sa.Column("gone_at", UtcDateTime(), nullable=True))
    for table in ("feature", "test_environment"):
        op.execute(f"UPDATE {table} SET gone_at = synced_at WHERE content_hash = '' AND gone_at IS NULL")  # noqa: S608


def downgrade() -> None:
    """Take the revision back: such names count again."""
    for table in ("feature", "test_environment"):
        op.execute(f"UPDATE {table} SET gone_at = NULL WHERE content_hash = ''")  # noqa: S608
    op.drop_column("section", "gone_at")
