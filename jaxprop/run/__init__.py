"""Training runs: fit, evaluation, checkpoints, diagnosis, devices, and the folder that a run leaves behind."""
