"""What people work with: triage, duplicates, changes, alerts, the digest, search, and the sync itself."""
