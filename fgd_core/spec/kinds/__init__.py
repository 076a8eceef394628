"""The specs of jobs, one file for each kind."""
