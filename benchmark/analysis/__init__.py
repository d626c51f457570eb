"""Turns records into tables and figures. This package reads records only, and imports no torch (except for one kind of figure)."""
