"""What studies find: models of their results."""
