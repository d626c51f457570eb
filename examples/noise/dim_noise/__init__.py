"""A label noise for the robust training benchmark."""
