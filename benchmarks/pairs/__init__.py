"""Checks that every detector learns and that every pair of detectors distils."""
