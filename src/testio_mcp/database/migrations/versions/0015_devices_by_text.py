"""indexes of the texts of devices, in which the few distinct ones are found without reading every line"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TEXTS = (("name",), ("category",), ("operating_system", "operating_system_version"), ("browsers",))


def upgrade() -> None:
    """Apply the revision."""
    for table in ("bug_device", "execution_device"):
        for texts in TEXTS:
            op.create_index(op.f(f"ix_{table}_{'_'.join(texts)}"), table, list(texts), unique=False)


def downgrade() -> None:
    """Take the revision back."""
    for table in ("bug_device", "execution_device"):
        for texts in TEXTS:
            op.drop_index(op.f(f"ix_{table}_{'_'.join(texts)}"), table_name=table)
