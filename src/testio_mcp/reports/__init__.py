"""Reports: one model of what a report holds, and the writers that turn it into files."""
