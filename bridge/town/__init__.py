"""The embedded town: a procedural world that needs no GPU, display or server."""
