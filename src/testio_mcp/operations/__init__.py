"""The questions and actions of the product, each written once and offered on every surface."""
