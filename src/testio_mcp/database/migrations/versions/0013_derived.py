"""versions of derived data"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision; without a version, all derived data are computed again by the opening that migrates."""
    op.create_table(
        "derived",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_derived")),
    )


def downgrade() -> None:
    """Take the revision back."""
    op.drop_table("derived")
