"""Lists: filters, orders, pages and totals, written once for all of them."""
