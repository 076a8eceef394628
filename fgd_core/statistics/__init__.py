"""Statistics that runs, studies and comparisons share. They need NumPy and SciPy, and no torch."""
