"""The HTTP server: REST, its description, and what every request passes."""
