"""The neural renderer: networks, data, training, measures and render sessions (torch)."""
