"""Training data: from folders of photographs and packed clips to batches."""
