"""lists count the records themselves"""

import sqlalchemy as sa
from alembic import op

from testio_mcp.database.types import BigId, UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

GONE = sa.text("gone_at IS NOT NULL")


def upgrade() -> None:
    """Apply the revision."""
    for table in ("change_count", "kept_count", "product_count"):
        op.drop_table(table)
    op.drop_index(op.f("ix_test_gone_at"), table_name="test")
    for table in ("test", "bug"):
        op.create_index(
            op.f(f"ix_{table}_product_id_gone_at"),
            table,
            ["product_id", "gone_at"],
            unique=False,
            sqlite_where=GONE,
            postgresql_where=GONE,
        )


def downgrade() -> None:
    """Take the revision back, with nothing counted: such a store is to be copied anew."""
    for table in ("bug", "test"):
        op.drop_index(op.f(f"ix_{table}_product_id_gone_at"), table_name=table)
    op.create_index(op.f("ix_test_gone_at"), "test", ["gone_at"], sqlite_where=GONE, postgresql_where=GONE)
    op.create_table(
        "product_count",
        sa.Column("product_id", BigId, autoincrement=False, nullable=False),
        sa.Column("tests", sa.Integer(), nullable=False),
        sa.Column("bugs", sa.Integer(), nullable=False),
        sa.Column("open_bugs", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name=op.f("fk_product_count_product_id")),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_product_count")),
    )
    words = ("status", "level", "kind")
    op.create_table(
        "kept_count",
        sa.Column("counted", sa.String(), nullable=False),
        sa.Column("owner_id", BigId, nullable=False),
        sa.Column("product_id", BigId, nullable=False),
        *(sa.Column(word, sa.String(), nullable=False) for word in words),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("counted", "owner_id", "product_id", *words, name=op.f("pk_kept_count")),
        sqlite_with_rowid=False,
    )
    alike = ("changed_at", "run_id", "product_id", "entity", "field", "word")
    op.create_table(
        "change_count",
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("run_id", BigId, nullable=False),
        sa.Column("product_id", BigId, nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("entity", "field", "word")),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(*alike, name=op.f("pk_change_count")),
        sqlite_with_rowid=False,
    )
