"""Networks with plain arguments; none knows a config or a mode."""
