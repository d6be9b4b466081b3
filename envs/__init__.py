"""Gymnasium environments on top of any World."""
