"""full text search"""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

from testio_mcp.database.search import fill
from testio_mcp.database.types import BigId, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INDEXES = ("search_bug", "search_test", "search_user_story", "search_feature", "search_product")


def upgrade() -> None:
    """Apply the revision: make the indexes, and fill them from the records that are there."""
    op.create_table(
        "search_slice",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("product_id", BigId, nullable=False),
        sa.Column("number", BigId, nullable=False),
        sa.Column("first_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "product_id", "number", name=op.f("pk_search_slice")),
    )
    for name in INDEXES:
        if op.get_context().dialect.name == "sqlite":
            # Words are split and folded before they get here; the columns keep what has to be removed later.
            op.execute(
                f"CREATE VIRTUAL TABLE {name} USING fts5("
                "title, body, comments, words, tokenize='ascii', detail='none', columnsize=0)"
            )
        else:
            op.create_table(
                name,
                sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
                *(sa.Column(text, sa.Text(), nullable=False) for text in ("title", "body", "comments")),
                sa.Column("words", postgresql.TSVECTOR(), nullable=False),
                sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
            )
            op.create_index(op.f(f"ix_{name}_words"), name, ["words"], postgresql_using="gin")
    if not context.is_offline_mode():
        fill(op.get_bind())


def downgrade() -> None:
    """Undo the revision."""
    for name in reversed(INDEXES):
        op.drop_table(name)
    op.drop_table("search_slice")
