"""`check-world`: drives a world for a few ticks and reports what is wrong with its frames."""
