"""Runs jobs inside the Ray cluster, and reports them to the control plane."""
