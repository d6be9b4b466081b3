"""What executes a trained generator, and in which numeric precision."""
