"""Worlds, renderers and the wire between them: numpy and pyzmq, no torch."""
