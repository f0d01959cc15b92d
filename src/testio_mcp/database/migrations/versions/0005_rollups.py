"""counts of past months, and indexes that hold what metrics split by"""

import sqlalchemy as sa
from alembic import op

from testio_mcp.database.types import BigId, UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = (
    (
        "test",
        "ix_test_product_id_sort_at_id_testing_type_gone_at",
        ("product_id", "sort_at", "id", "testing_type", "gone_at"),
        "ix_test_wide_product_id",
        ("status", "section_id", "test_environment_id", "created_by_id", "submitted_by_id"),
    ),
    (
        "bug",
        "ix_bug_test_id_gone_at_level_status",
        ("test_id", "gone_at", "level", "status"),
        "ix_bug_wide_test_id",
        ("kind", "is_known", "feature_id", "author_id"),
    ),
    (
        "execution",
        "ix_execution_test_id_status",
        ("test_id", "status"),
        "ix_execution_wide_test_id",
        ("gone_at", "user_story_id", "executed_by_id"),
    ),
    ("test_feature", "ix_test_feature_test_id", ("test_id",), "ix_test_feature_test_id_feature_id", ("feature_id",)),
)


def upgrade() -> None:
    """Apply the revision; the sync fills the tables."""
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
    for table, old, columns, new, more in INDEXES:
        op.drop_index(op.f(old), table_name=table)
        op.create_index(op.f(new), table, [*columns, *more], unique=False)


def downgrade() -> None:
    """Take the revision back."""
    for table, old, columns, new, _ in INDEXES:
        op.drop_index(op.f(new), table_name=table)
        op.create_index(op.f(old), table, list(columns), unique=False)
    for table in ("rollup_member", "rollup_count", "rollup_cell"):
        op.drop_table(table)
