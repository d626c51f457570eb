"""A method for the robust training benchmark."""
