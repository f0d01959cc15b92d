"""The records of the product, a subject each: its list and all about one of its records."""
