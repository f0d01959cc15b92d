"""indexes for lists and summaries"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BACKLOG = (
    "status IN ('accepted', 'auto_accepted') AND exported_at IS NULL AND external_idx IS NULL AND gone_at IS NULL"
)
WAITING = ("product_id", "reported_at", "id", "exported_at")
NEW = (
    ("bug", "reported_at", "id"),
    ("bug", "product_id", "id", "status", "level", "kind", "is_known", "gone_at"),
    ("bug", "status", "id", "level", "gone_at", "rejection_reason"),
    ("bug", "product_id", "gone_at", "status", "level", "kind"),
    ("bug", "feature_id", "id"),
    ("bug", "feature_id", "gone_at", "status", "level", "kind"),
    ("bug", "author_id", "gone_at", "product_id", "status", "level", "reported_at"),
    ("test", "product_id", "sort_at", "id", "testing_type", "gone_at"),
    ("test", "product_id", "status", "sort_at", "id", "testing_type", "gone_at"),
    ("test", "status", "sort_at", "id", "testing_type", "gone_at"),
    ("test", "sort_at", "id", "testing_type", "gone_at"),
    ("test", "test_environment_id", "gone_at"),
    ("test", "created_by_id", "gone_at", "start_at"),
    ("test", "submitted_by_id", "gone_at", "start_at"),
    ("execution", "user_story_id", "gone_at", "status"),
    ("execution", "executed_by_id", "gone_at", "status", "executed_at"),
)
OLD = (
    ("bug", "feature_id"),
    ("bug", "author_id"),
    ("test", "product_id", "sort_at", "id", "testing_type"),
    ("test", "product_id", "status", "sort_at", "id", "testing_type"),
    ("test", "status", "sort_at", "id", "testing_type"),
    ("test", "sort_at", "id", "testing_type"),
    ("execution", "user_story_id", "status"),
)


def upgrade() -> None:
    """Apply the revision."""
    _replace(OLD, NEW)
    op.create_index(
        op.f(_name("bug", WAITING)),
        "bug",
        list(WAITING),
        unique=False,
        sqlite_where=sa.text(BACKLOG),
        postgresql_where=sa.text(BACKLOG),
    )


def downgrade() -> None:
    """Take the revision back."""
    op.drop_index(op.f(_name("bug", WAITING)), table_name="bug")
    _replace(NEW, OLD)


def _replace(old: tuple[tuple[str, ...], ...], new: tuple[tuple[str, ...], ...]) -> None:
    for table, *columns in old:
        op.drop_index(op.f(_name(table, columns)), table_name=table)
    for table, *columns in new:
        op.create_index(op.f(_name(table, columns)), table, list(columns), unique=False)


def _name(table: str, columns: Sequence[str]) -> str:
    return f"ix_{table}_{'_'.join(columns)}"
