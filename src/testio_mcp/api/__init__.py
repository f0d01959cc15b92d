"""The only place that speaks HTTP to Test IO, and the words it uses."""
