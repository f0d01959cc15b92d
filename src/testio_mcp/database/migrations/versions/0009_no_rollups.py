"""counts of past months are not kept"""

import sqlalchemy as sa
from alembic import op

from testio_mcp.database.types import BigId, UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    for table in ("rollup_member", "rollup_count", "rollup_cell"):
        op.drop_table(table)


def downgrade() -> None:
    """Take the revision back, with nothing kept."""
    op.create_table(
        "rollup_cell",
        sa.Column("product_id", BigId, nullable=False),
        sa.Column("starts_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("product_id", "starts_at", name=op.f("pk_rollup_cell")),
    )
    op.create_table(
        "rollup_count",
        sa.Column("product_id", BigId, nullable=False),
        sa.Column("fact", sa.String(), nullable=False),
        sa.Column("starts_at", UtcDateTime(), nullable=False),
        sa.Column("testing_type", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("is_known", sa.Boolean(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            *("product_id", "fact", "starts_at", "testing_type", "status", "level", "kind", "is_known"),
            name=op.f("pk_rollup_count"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollup_member",
        sa.Column("product_id", BigId, nullable=False),
        sa.Column("fact", sa.String(), nullable=False),
        sa.Column("starts_at", UtcDateTime(), nullable=False),
        sa.Column("member_id", BigId, nullable=False),
        sa.PrimaryKeyConstraint("product_id", "fact", "starts_at", "member_id", name=op.f("pk_rollup_member")),
        sqlite_with_rowid=False,
    )
