"""What a town consists of and never changes: streets, lanes, junctions, lights, plots."""
