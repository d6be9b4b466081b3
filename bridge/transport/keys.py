"""CURVE keys: encryption and authentication of connections (http://curvezmq.org).

Server and client each have a pair of files: `NAME.key` (public, give it to the other side) and
`NAME.key_secret` (keep it). A server accepts the clients whose public keys are in one folder,
which it reads when it starts. A client with a wrong key gets no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from sim2street.bridge.transport.config import ClientConfig, ServerConfig
from sim2street.configs import ConfigError


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Paths of a new key pair."""

    public: Path
    secret: Path


def generate_keys(folder: Path, name: str) -> KeyFiles:
    """Write the files `NAME.key` and `NAME.key_secret` (readable by its owner only).

    Raises:
        ConfigError: one of the files exists already, or cannot be written.
    """
    files = KeyFiles(folder / f"{name}.key", folder / f"{name}.key_secret")
    if files.public.exists() or files.secret.exists():
        raise ConfigError(f"keys named '{name}' exist already in {folder}: remove them first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.secret.touch(mode=0o600)
        zmq.auth.create_certificates(folder, name)
    except OSError as error:
        raise ConfigError(f"cannot write keys to {folder}: {error.strerror}") from error
    return files


def enable_server_encryption(
    context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes], config: ServerConfig
) -> ThreadAuthenticator | None:
    """Turn CURVE on if `config` has keys, and start the thread that checks client keys.

    Returns:
        The authenticator, to be stopped before the context ends; None without keys.

    Raises:
        ConfigError: a key file cannot be read, or no client could connect.
    """
    if config.secret_key is None or config.allowed_clients is None:
        return None
    if not list(config.allowed_clients.glob("*.key")):
        raise ConfigError(
            f"no client keys (*.key) in {config.allowed_clients}: nobody could connect"
        )
    public, secret = _load(config.secret_key, secret=True)
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve(domain="*", location=str(config.allowed_clients))
    socket.curve_publickey = public
    socket.curve_secretkey = secret
    socket.curve_server = True
    return authenticator


def enable_client_encryption(socket: zmq.Socket[bytes], config: ClientConfig) -> None:
    """Turn CURVE on if `config` has keys.

    Raises:
        ConfigError: a key file cannot be read.
    """
    if config.secret_key is None or config.server_key is None:
        return
    public, secret = _load(config.secret_key, secret=True)
    socket.curve_publickey = public
    socket.curve_secretkey = secret
    socket.curve_serverkey = _load(config.server_key, secret=False)[0]


def _load(path: Path, secret: bool) -> tuple[bytes, bytes]:
    try:
        public_key, secret_key = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the key file {path}: {error}") from error
    if secret and secret_key is None:
        raise ConfigError(f"{path} holds no secret key: give the file NAME.key_secret")
    return public_key, secret_key or b""
