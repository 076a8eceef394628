"""The HTTP API: `routes` has a module for each resource; the modules beside it are what the routes share."""
