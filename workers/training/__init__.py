"""Trains one job in several processes, which Ray Train launches; loads neither torch nor Ray Train in the driver."""
