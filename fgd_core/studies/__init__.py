"""Studies: what their runs, taken together, answer."""
