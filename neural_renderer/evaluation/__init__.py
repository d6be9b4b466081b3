"""Evaluation of a checkpoint: scenes, rendering, measures and report."""
