"""All of ZeroMQ: the lock-step channel, the frame stream, keys and supervision.

`serve_world` and `serve_renderer` put any World or Renderer behind a socket;
`RemoteWorld` and `RemoteRenderer` are the same contracts on the other side.
"""

from sim2street.bridge.transport.channel import ServerStats
from sim2street.bridge.transport.client import query_status
from sim2street.bridge.transport.config import ClientConfig, ServerConfig
from sim2street.bridge.transport.endpoints import check_endpoint, is_public
from sim2street.bridge.transport.keys import KeyFiles, generate_keys
from sim2street.bridge.transport.remote_renderer import RemoteRenderer
from sim2street.bridge.transport.remote_world import RemoteWorld
from sim2street.bridge.transport.renderer_server import serve_renderer
from sim2street.bridge.transport.signals import stop_on_signals
from sim2street.bridge.transport.stream import FramePublisher, FrameSubscriber
from sim2street.bridge.transport.supervise import supervise
from sim2street.bridge.transport.world_server import serve_world

__all__ = [
    "ClientConfig",
    "FramePublisher",
    "FrameSubscriber",
    "KeyFiles",
    "RemoteRenderer",
    "RemoteWorld",
    "ServerConfig",
    "ServerStats",
    "check_endpoint",
    "generate_keys",
    "is_public",
    "query_status",
    "serve_renderer",
    "serve_world",
    "stop_on_signals",
    "supervise",
]
