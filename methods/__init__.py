"""The methods under comparison: one robust-training method per file. `methods.registry` finds them."""
