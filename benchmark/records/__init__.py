"""Files on disk: records, claims, failure notes, submitted grids. Nothing here imports torch."""
