"""Errors that worlds, renderers, recordings and the wire raise."""

from sim2street.configs.errors import Sim2StreetError


class FrameError(Sim2StreetError):
    """A frame, view or control has a wrong shape, dtype, range or set of fields."""


class LabelError(Sim2StreetError):
    """A label id or a label colour that the label map does not contain."""


class DatasetError(Sim2StreetError):
    """A file or folder of a data set is missing, unreadable or not what it should be."""


class ProtocolError(Sim2StreetError):
    """A message is malformed, too large, of an unknown version or out of order."""


class PeerTimeout(Sim2StreetError):
    """A process on the other side of a socket did not answer within its deadline."""


class WorldError(Sim2StreetError):
    """A world cannot continue its episode. The next `reset` may work."""


class WorldLost(WorldError):
    """The process behind a world died, froze or was restarted; its episode is over."""


class WorldBusy(WorldError):
    """Another client uses this world. Try again after that client has closed it."""


class EpisodeEnd(WorldError):
    """A recorded episode has no more ticks. Call `reset` to replay another one."""


class SensorTimeout(WorldError):
    """Sensor data of a tick did not arrive within the deadline; the episode is over."""


class RendererError(Sim2StreetError):
    """A renderer cannot do what was requested, for example because a view has no labels."""


class RendererLost(RendererError):
    """The process behind a renderer died or froze."""


class UnknownSession(RendererError):
    """No session with this id is open, for example after the renderer restarted."""


class RecordingError(Sim2StreetError):
    """A recording cannot be written or read."""
