"""Webhooks: HTTP requests that report the end of a job to other services."""
