"""The quality report: what it asks, the sections it makes of the answers, and the words it finds for them."""
