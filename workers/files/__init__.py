"""The files of a run: where it works on its node, and how files that must outlive the node are stored.

There are two kinds of workspace. `shared_workspace` is a folder that all nodes and the control plane share.
`server_workspace` is a scratch folder on the run's own node; its files go through the control plane.
"""
