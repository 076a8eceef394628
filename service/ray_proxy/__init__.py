"""Ray's dashboard behind our own door: who may see what of it, and what of it nobody sees."""
