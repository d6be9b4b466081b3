"""Network modules; they take plain arguments and know nothing of configs."""
