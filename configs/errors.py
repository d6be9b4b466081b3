"""Base classes of the errors that a user can fix.

The command line prints them without a traceback and exits with a non-zero status. Any other
exception is a bug and keeps its traceback.
"""


class Sim2StreetError(Exception):
    """An error that the user can fix: says what was expected, what came and what to do."""


class ConfigError(Sim2StreetError):
    """A YAML file or an option does not match its schema."""


class UnknownKeyword(ConfigError, TypeError):
    """A keyword argument that does not exist, which Python reports as a TypeError."""
