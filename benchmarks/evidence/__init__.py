"""Does it help? Plain and distilled students on real data, over seeds; each finished run is recorded for good."""
