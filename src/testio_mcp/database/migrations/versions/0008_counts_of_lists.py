"""indexes for the counts of lists, in place of two that nothing reads"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

GONE = sa.text("gone_at IS NOT NULL")


def upgrade() -> None:
    """Apply the revision."""
    op.drop_index(op.f("ix_bug_product_id_status_id"), table_name="bug")
    op.drop_index(op.f("ix_change_log_changed_at"), table_name="change_log")
    op.create_index(op.f("ix_bug_kind_id_gone_at"), "bug", ["kind", "id", "gone_at"], unique=False)
    op.create_index(
        op.f("ix_test_gone_at"), "test", ["gone_at"], unique=False, sqlite_where=GONE, postgresql_where=GONE
    )


def downgrade() -> None:
    """Take the revision back."""
    op.drop_index(op.f("ix_test_gone_at"), table_name="test")
    op.drop_index(op.f("ix_bug_kind_id_gone_at"), table_name="bug")
    op.create_index(op.f("ix_change_log_changed_at"), "change_log", ["changed_at"], unique=False)
    op.create_index(op.f("ix_bug_product_id_status_id"), "bug", ["product_id", "status", "id"], unique=False)
