"""Reports: what they ask, and the sections, findings and verdicts made of the answers."""
