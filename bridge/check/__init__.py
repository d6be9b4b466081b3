"""World check: drives a world for a few ticks and explains what is wrong with its frames."""
