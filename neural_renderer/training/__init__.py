"""Training of the generator; `trainer.py` is the place to start reading."""
