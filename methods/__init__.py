"""What is compared: one robust-training method a file, found by `methods.registry`."""
