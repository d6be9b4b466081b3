"""The town's moving parts: the ego, vehicles, pedestrians, and the right of way at junctions."""
