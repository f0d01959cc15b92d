"""The only writer of entity data: what to copy is data, how to copy is one engine."""
