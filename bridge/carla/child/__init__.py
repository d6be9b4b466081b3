"""The process that holds CARLA's client library. `bridge/carla/client.py` starts it.

It runs as a script, in an interpreter that the client's wheel exists for (Python 3.7 or
later), so it uses numpy and the standard library only, and no other module of this project.
"""
