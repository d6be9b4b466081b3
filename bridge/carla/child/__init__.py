"""What runs beside CARLA's client, in a process of its own.

Run as a script by an interpreter that the client's wheel exists for, Python 3.7 or later:
numpy and the standard library only, and no other module of this project.
"""
