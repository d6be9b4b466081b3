"""Everything that uses ZeroMQ: serving worlds and renderers to other processes and machines.

`serve_world` and `serve_renderer` serve any World or Renderer. `RemoteWorld` and `RemoteRenderer`
are their clients, and are a World and a Renderer themselves. Both pairs use `request_server.py`
and `request_client.py`; error replies, also to malformed messages, are in `error_replies.py`.
`FramePublisher` sends frames to any number of `FrameSubscriber`s.
"""

from sim2street.bridge.transport.config import ClientConfig, ServerConfig
from sim2street.bridge.transport.endpoints import check_endpoint, is_public
from sim2street.bridge.transport.frame_stream import FramePublisher, FrameSubscriber, PublishedWorld
from sim2street.bridge.transport.keys import KeyFiles, generate_keys
from sim2street.bridge.transport.remote_renderer import RemoteRenderer
from sim2street.bridge.transport.remote_world import RemoteWorld
from sim2street.bridge.transport.renderer_server import serve_renderer
from sim2street.bridge.transport.request_client import query_status
from sim2street.bridge.transport.request_server import ServerStats
from sim2street.bridge.transport.signals import stop_on_signals
from sim2street.bridge.transport.supervise import end_with_supervisor, supervise
from sim2street.bridge.transport.world_server import serve_world

__all__ = [
    "ClientConfig",
    "FramePublisher",
    "FrameSubscriber",
    "KeyFiles",
    "PublishedWorld",
    "RemoteRenderer",
    "RemoteWorld",
    "ServerConfig",
    "ServerStats",
    "check_endpoint",
    "end_with_supervisor",
    "generate_keys",
    "is_public",
    "query_status",
    "serve_renderer",
    "serve_world",
    "stop_on_signals",
    "supervise",
]
