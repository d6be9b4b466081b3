"""The embedded town: a procedural driving world that needs no GPU, display or game engine.

`plan` makes a town's streets, `traffic` moves vehicles and pedestrians, `scenery` makes
meshes and `camera` renders them. `world.TownWorld` is the `World` made of these parts.
"""
