"""Checks of whether a method follows the rules of the interface, by training it on small tasks."""
