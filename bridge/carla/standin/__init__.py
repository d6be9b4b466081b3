"""A stand-in for a CARLA server: CARLA's network protocol, with the embedded town as its world.

It serves to test clients. It has none of CARLA's rendering or physics.
"""
