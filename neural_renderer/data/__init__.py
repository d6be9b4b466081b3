"""Photographs, simulator clips and everything between a folder and a training batch."""
