"""Styles: made from exemplar photographs, stored in files, sent as bytes."""
