"""Where a run works on its node, and how what must outlive it reaches the others.

Two kinds of home: `shared_home`, a folder that all nodes and the control plane share, and `server_home`, a scratch
folder of the node's own from which files go through the control plane.
"""
