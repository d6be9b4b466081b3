"""The triangle meshes of a town.

`build.scenery_items` makes everything that stands still from a town's layout. Modules called
`..._meshes` make single shapes at the origin; the others place them in the town.
"""
