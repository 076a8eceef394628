"""Where the control plane listens unless it is told otherwise."""

DEFAULT_URL = "http://127.0.0.1:8321"
