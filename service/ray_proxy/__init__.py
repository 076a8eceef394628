"""Rules of the proxy in front of Ray's dashboard: which parts a user may see, and which parts are hidden from all."""
