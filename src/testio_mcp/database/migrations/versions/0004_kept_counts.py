"""counts that are kept, and tests of contacts and environments in order"""

import sqlalchemy as sa
from alembic import op

from testio_mcp.database.types import BigId, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WORDS = ("product_id", "status", "level", "kind")
COUNTS = (
    ("product_bugs", "bug", "product_id", ("status", "level", "kind")),
    ("feature_bugs", "bug", "feature_id", ("status", "level", "kind")),
    ("author_bugs", "bug", "author_id", ("product_id", "status", "level")),
    ("product_tests", "test", "product_id", ("status",)),
    ("creator_tests", "test", "created_by_id", ()),
    ("submitter_tests", "test", "submitted_by_id", ()),
    ("environment_tests", "test", "test_environment_id", ()),
    ("tester_executions", "execution", "executed_by_id", ("status",)),
    ("story_executions", "execution", "user_story_id", ("status",)),
)
ALIKE = ("changed_at", "run_id", "product_id", "entity", "field")
WORD = (
    "CASE WHEN field = 'status' THEN coalesce(new_value, '') "
    "WHEN field = 'gone_at' AND new_value IS NOT NULL THEN 'gone' ELSE '' END"
)
NEW = (
    ("test_environment_id", "sort_at", "id", "status", "gone_at"),
    ("created_by_id", "sort_at", "id", "status", "start_at", "gone_at"),
    ("submitted_by_id", "sort_at", "id", "status", "start_at", "gone_at"),
)
OLD = (
    ("test_environment_id", "gone_at"),
    ("created_by_id", "gone_at", "start_at"),
    ("submitted_by_id", "gone_at", "start_at"),
)


def upgrade() -> None:
    """Apply the revision, and count what is there."""
    op.create_table(
        "kept_count",
        sa.Column("counted", sa.String(), nullable=False),
        sa.Column("owner_id", BigId, nullable=False),
        sa.Column("product_id", BigId, nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("counted", "owner_id", *WORDS, name=op.f("pk_kept_count")),
        sqlite_with_rowid=False,
    )
    for name, table, owner, split in COUNTS:
        words = ", ".join(word if word in split else "0" if word == "product_id" else "''" for word in WORDS)
        op.execute(
            f"INSERT INTO kept_count (counted, owner_id, {', '.join(WORDS)}, number) "  # noqa: S608 - names from above
            f"SELECT '{name}', {owner}, {words}, count(*) FROM {table} "
            f"WHERE {owner} IS NOT NULL AND gone_at IS NULL GROUP BY {', '.join((owner, *split))}"
        )
    op.create_table(
        "change_count",
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("run_id", BigId, nullable=False),
        sa.Column("product_id", BigId, nullable=False),
        sa.Column("entity", sa.String(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("word", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(*ALIKE, "word", name=op.f("pk_change_count")),
        sqlite_with_rowid=False,
    )
    op.execute(
        f"INSERT INTO change_count ({', '.join(ALIKE)}, word, number) "  # noqa: S608 - names from above
        f"SELECT {', '.join(ALIKE)}, {WORD} AS new_word, count(*) FROM change_log "
        f"GROUP BY {', '.join(ALIKE)}, new_word"
    )
    _replace(OLD, NEW)


def downgrade() -> None:
    """Take the revision back."""
    _replace(NEW, OLD)
    op.drop_table("change_count")
    op.drop_table("kept_count")


def _replace(old: tuple[tuple[str, ...], ...], new: tuple[tuple[str, ...], ...]) -> None:
    for columns in old:
        op.drop_index(op.f(f"ix_test_{'_'.join(columns)}"), table_name="test")
    for columns in new:
        op.create_index(op.f(f"ix_test_{'_'.join(columns)}"), "test", list(columns), unique=False)
