"""Names that `vulture` should not report: public ones that only users call.

Each is an attribute access, which vulture counts as a use. Names that a framework reads (zmq
socket options, pydantic validators, gymnasium's vector interface) are listed in pyproject.toml.
"""

# ruff: noqa: B018

from typing import Any

public: Any = None

public.render_labels  # Renderer
public.carla_ids  # CarlaWorld
public.client_pid
public.TEST_TOWNS  # towns kept for testing
public.fault  # the stand-in's pytest fixture
public.get_attr  # gymnasium.vector.VectorEnv
public.set_attr
public.close_extras
public.single_action_space
public.frame_gmac  # cost of a generator, for benchmarks
public.history_weight  # GeneratorOutput, for looking at what a frame takes from its predecessor
public.retries  # ServerStats, sent as counters by the server
public.stale
public.refused
public.unroutable
public.disconnects
public.handshakes_refused
public.uptime_s  # StatusBody, on the wire
public.held
public.counters
public.prepare  # called by name from the parent process
public.ping
public.PROP  # SurfaceKind, on the wire
public.FOLIAGE
public.vehicle_model_and_side
public.NONE  # atlas.Part, in part maps
public.LAMP
public.WHEEL
public.save_atlas  # used by tools/atlas
public.received_bytes  # connection guard, shown in its log
