"""Renders label, depth and instance images of a town with panda3d's software rasteriser.

One image is made in three steps: `occlusion_culling` finds the meshes that buildings hide,
`rasteriser` draws the rest as a visibility buffer (the id of the triangle seen through each
pixel), and `triangle_table` turns triangle ids into labels, depth and instance ids. On the way,
`leaf_cutting` roughens the outlines of foliage, and `surface_table` looks up texture coordinates.
`scene.Scene` runs these steps for one town.
"""
