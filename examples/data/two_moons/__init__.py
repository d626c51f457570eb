"""A data set for the robust training benchmark."""
