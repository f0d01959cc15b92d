"""What the product costs in time: measured by `make bench`, written to docs/architecture/PERFORMANCE.md."""
