"""How a run reports: events go to an outbox on disk, then in batches over HTTP, while training waits for neither."""
