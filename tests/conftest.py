"""Its place makes pytest put this folder on the path: tests import helpers beside it."""
