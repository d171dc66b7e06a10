"""One submitit job a trial, on this machine or SLURM. The trial's folder is the memory; nothing here loads torch."""
