"""sim2street: turns what a driving simulator knows about a street into photorealistic frames.

Importing it registers the Gymnasium ids (`sim2street/TownFollow-v0`, ...) where gymnasium is
installed, and loads neither torch nor panda3d.
"""

from importlib.util import find_spec

if find_spec("gymnasium") is not None:
    from sim2street import envs  # noqa: F401  (registers the ids)
