"""The one base class of every error a user can act on.

The command line prints these without a traceback and exits non-zero; anything
else is a bug of ours and keeps its traceback.
"""


class Sim2StreetError(Exception):
    """Something the user can mend: says what was expected, what came, what to do."""


class ConfigError(Sim2StreetError):
    """A YAML file or an option does not fit its schema."""
