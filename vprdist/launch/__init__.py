"""Jobs by submitit, on this machine or SLURM: a trial's, an array's, the driver's. `store` keeps what they leave.

Nothing here loads torch before a job runs on its node.
"""
