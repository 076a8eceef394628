"""Searches over the settings of a base job: what a sweep runs on the cluster.

`study` decides what to run, and can be rebuilt from the sweep's events. `driver` carries the decisions out.
`tune_executor` runs the trials under Ray Tune, in actors of `trial_actor`.
"""
