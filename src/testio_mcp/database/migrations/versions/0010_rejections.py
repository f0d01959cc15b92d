"""how sure the reason of a rejection is"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision; the next sync matches rejections that have no match yet."""
    op.add_column("bug", sa.Column("rejection_match", sa.String(), nullable=True))


def downgrade() -> None:
    """Take the revision back."""
    op.drop_column("bug", "rejection_match")
