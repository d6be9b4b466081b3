"""Training: losses, schedule, state and the loop."""
