"""The names of the projections, for whoever need not load them: `catalogue.py` has the projections themselves."""

NAMES = (
    "order_details",
    "order_list",
    "order_search",
    "daily_sales",
    "timeline",
    "due_steps",
    "stock_levels",
)
