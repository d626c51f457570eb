"""Grids sent to other processes, by submitit: to SLURM or to processes of this machine."""
