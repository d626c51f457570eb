"""Many processes on one grid: claims, failures, submission to SLURM or to processes of this machine, status."""
