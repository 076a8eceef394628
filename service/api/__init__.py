"""The HTTP API: `routes` has a module for each resource; the other modules are shared by the routes."""
