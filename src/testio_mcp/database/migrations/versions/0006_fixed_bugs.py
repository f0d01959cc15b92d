"""bugs that are marked as fixed"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEXES = (("product_id", "reported_at", "feature_id"), ("reported_at", "feature_id"))
# A bug that does not change is never written again: what its copy says of it already is read from the copy.
SAYS_SO = {
    # The first half is quick, and leaves few to be read as JSON.
    "sqlite": "instr(raw, '\"fixed\"\\:true') > 0 AND json_type(raw, '$.fixed') = 'true'",
    "postgresql": "raw -> 'fixed' = 'true'::jsonb",
}


def upgrade() -> None:
    """Apply the revision, and find the fixed bugs that were copied before."""
    op.add_column("bug", sa.Column("is_fixed", sa.Boolean(), nullable=False, server_default=sa.false()))
    condition = SAYS_SO[op.get_context().dialect.name]
    op.execute(f"UPDATE bug SET is_fixed = true WHERE {condition}")  # noqa: S608 - from above
    op.execute("DELETE FROM drift WHERE resource = 'bugs' AND note = '+fixed'")
    for columns in INDEXES:
        op.create_index(
            op.f(f"ix_bug_{'_'.join(columns)}"),
            "bug",
            list(columns),
            unique=False,
            sqlite_where=sa.text("is_fixed = 1 AND gone_at IS NULL"),
            postgresql_where=sa.text("is_fixed AND gone_at IS NULL"),
        )


def downgrade() -> None:
    """Take the revision back."""
    for columns in INDEXES:
        op.drop_index(op.f(f"ix_bug_{'_'.join(columns)}"), table_name="bug")
    op.drop_column("bug", "is_fixed")
