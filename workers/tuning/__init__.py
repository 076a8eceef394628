"""Searches over the settings of a base job: what a sweep runs on the cluster.

`study` decides what to run, and can be rebuilt from the sweep's events. `driver` carries the decisions out. An
`executor` runs trials; `ray_executor` runs them in Ray actors, where `trial_worker` runs one after the other.
"""
