"""The embedded town: a procedural driving world that needs no GPU, display or engine."""
