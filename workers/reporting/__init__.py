"""Reports a run's events: an outbox on disk, then batches over HTTP; training waits for neither."""
