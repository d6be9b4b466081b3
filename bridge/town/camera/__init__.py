"""From triangles to labels, depth and instance images, with Panda3D's software rasteriser."""
