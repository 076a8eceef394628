"""Streams of events and logs: many readers share one look at the database or the cluster."""
