"""A model for the robust training benchmark."""
