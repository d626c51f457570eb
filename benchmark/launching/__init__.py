"""Submission of grids by submitit, to SLURM or to processes of this machine."""
