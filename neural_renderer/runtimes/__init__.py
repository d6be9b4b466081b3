"""Choice of the numeric precision in which a generator runs."""
