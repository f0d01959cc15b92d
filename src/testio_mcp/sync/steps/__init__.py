"""The steps of a sync, one module per kind of record."""
