"""Metrics: what can be measured, by what it can be split, and the engine that counts."""
