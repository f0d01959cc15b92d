"""indexes of tests that hold all that metrics look at"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

OF_PRODUCT = ("product_id", "sort_at", "id", "testing_type", "gone_at", "status")
OF_ALL = ("sort_at", "id", "testing_type", "gone_at")
PARTS = ("section_id", "test_environment_id", "created_by_id", "submitted_by_id")


def upgrade() -> None:
    """Apply the revision: without the start, whether a test ran was looked up in its row."""
    op.drop_index(op.f("ix_test_wide_product_id"), table_name="test")
    op.drop_index(op.f("ix_test_sort_at_id_testing_type_gone_at"), table_name="test")
    op.create_index(op.f("ix_test_wide_product_id"), "test", [*OF_PRODUCT, "start_at", *PARTS], unique=False)
    op.create_index(
        op.f("ix_test_wide_sort_at"), "test", [*OF_ALL, "status", "start_at", "product_id", *PARTS], unique=False
    )


def downgrade() -> None:
    """Take the revision back."""
    op.drop_index(op.f("ix_test_wide_sort_at"), table_name="test")
    op.drop_index(op.f("ix_test_wide_product_id"), table_name="test")
    op.create_index(op.f("ix_test_sort_at_id_testing_type_gone_at"), "test", list(OF_ALL), unique=False)
    op.create_index(op.f("ix_test_wide_product_id"), "test", [*OF_PRODUCT, *PARTS], unique=False)
