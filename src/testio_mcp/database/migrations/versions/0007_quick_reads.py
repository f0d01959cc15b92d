"""indexes for the triage queue and the execution matrix, and full text indexes that are merged"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WAITING = "status IN ('open', 'question') AND gone_at IS NULL"
QUEUE = ("status", "level", "product_id", "test_id", "kind", "author_id", "gone_at")
RUNS = "ix_execution_wide_test_id"
RUN = ("test_id", "status", "gone_at", "user_story_id", "executed_by_id")
SEARCHED = ("search_bug", "search_test", "search_user_story", "search_feature", "search_product")


def upgrade() -> None:
    """Apply the revision."""
    op.create_index(
        op.f("ix_bug_status_level_product_id_test_id_kind_author_id_gone_at"),
        "bug",
        list(QUEUE),
        unique=False,
        sqlite_where=sa.text(WAITING),
        postgresql_where=sa.text(WAITING),
    )
    op.drop_index(op.f(RUNS), table_name="execution")
    op.create_index(op.f(RUNS), "execution", [*RUN, "executed_at"], unique=False)
    op.drop_index(op.f("ix_test_story_result_user_story_id"), table_name="test_story_result")
    op.create_index(
        op.f("ix_test_story_result_wide_user_story_id"),
        "test_story_result",
        ["user_story_id", "test_id", "execution_status", "bugs"],
        unique=False,
    )
    if op.get_context().dialect.name == "sqlite":
        for name in SEARCHED:
            # Two pieces of a size are enough to make one of them; of the default, four, each look-up reads them all.
            op.execute(f"INSERT INTO {name} ({name}, rank) VALUES ('usermerge', 2)")  # noqa: S608 - names from above


def downgrade() -> None:
    """Take the revision back."""
    if op.get_context().dialect.name == "sqlite":
        for name in SEARCHED:
            op.execute(f"INSERT INTO {name} ({name}, rank) VALUES ('usermerge', 4)")  # noqa: S608 - names from above
    op.drop_index(op.f("ix_test_story_result_wide_user_story_id"), table_name="test_story_result")
    op.create_index(op.f("ix_test_story_result_user_story_id"), "test_story_result", ["user_story_id"], unique=False)
    op.drop_index(op.f(RUNS), table_name="execution")
    op.create_index(op.f(RUNS), "execution", list(RUN), unique=False)
    op.drop_index(op.f("ix_bug_status_level_product_id_test_id_kind_author_id_gone_at"), table_name="bug")
