"""Shipped YAML configs, and the loader that validates them. Imports no other package of ours."""

from sim2street.configs.errors import ConfigError, Sim2StreetError
from sim2street.configs.loader import StrictModel, did_you_mean, find_config, load, parse, read_yaml

__all__ = [
    "ConfigError",
    "Sim2StreetError",
    "StrictModel",
    "did_you_mean",
    "find_config",
    "load",
    "parse",
    "read_yaml",
]
