"""Everything that moves: the ego, vehicles, pedestrians, and who may enter a junction."""
