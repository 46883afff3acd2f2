"""The edge: what people send and what they get."""
