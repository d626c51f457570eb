"""What is kept on disk: records, claims, notes of failures, grids sent elsewhere. Nothing here imports torch."""
