"""Evaluation of a checkpoint: what is rendered for it, what is measured, what is reported."""
