"""The triangle meshes of a town: ground, buildings, street furniture, trees, vehicles, people."""
