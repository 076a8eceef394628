"""A run in another process than its driver's: its workspace on any node, and its messages to the driver."""
