"""The fixed parts of a town: streets, lanes, junctions, traffic lights, sidewalks and plots."""
