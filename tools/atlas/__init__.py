"""Builds `free.atlas` from freely licensed material: `python -m tools.atlas.build`."""
