"""Typed errors of the bridge: which part failed, and what to do about it."""

from sim2street.configs.errors import Sim2StreetError


class FrameError(Sim2StreetError):
    """A frame, view or control breaks its contract (shape, dtype, range, fields)."""


class LabelError(Sim2StreetError):
    """A label id outside the taxonomy, or a taxonomy other than the expected one."""


class ProtocolError(Sim2StreetError):
    """A message was malformed, oversized, of an unknown version, or out of order."""


class PeerTimeout(Sim2StreetError):
    """A peer did not answer within its deadline."""


class WorldError(Sim2StreetError):
    """A world cannot go on with this episode; the next reset may work."""


class WorldLost(WorldError):
    """The process behind a world died, froze or was replaced; its episode is over."""


class WorldBusy(WorldError):
    """Another client holds this world; ask again when it has let go."""


class EpisodeEnd(WorldError):
    """A recorded episode has no more ticks; reset to replay another one."""


class SensorTimeout(WorldError):
    """A sensor's data for this tick did not arrive within its deadline."""


class RendererError(Sim2StreetError):
    """A renderer cannot render this request."""


class RendererLost(RendererError):
    """The process behind a renderer died or froze."""


class UnknownSession(RendererError):
    """The renderer does not know this session (it was restarted): open it again."""


class RecordingError(Sim2StreetError):
    """A recording cannot be written or read."""
