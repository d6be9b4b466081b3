"""A stand-in for a CARLA server: its wire protocol, showing the embedded town.

It proves how the real client library and the bridge behave on the wire. It has none of
CARLA's rendering or physics.
"""
