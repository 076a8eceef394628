"""The search over a base job's settings: what a sweep runs on the cluster.

`study` decides, and is rebuilt from the events of the sweep; `driver` carries out; `trial` runs inside the Ray actors.
"""
