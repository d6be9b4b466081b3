"""The canvas: photographic textures placed on a view's surfaces by geometry, before any network."""
