"""From a view to the generator's input: the same code for training, evaluation and serving."""
