"""Whether a method keeps the rules of the interface, found by training it on small tasks."""
