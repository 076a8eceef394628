"""The parts of `deploy/verify`: the standard library only, for a host with Docker and Python and nothing else."""
