"""What runs inside the Ray cluster: the entry point of every run, and the way back to the control plane."""
