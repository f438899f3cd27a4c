"""What `medley serve` is told by its command line and its environment, checked before anything listens."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.web.traffic import rate_of

TOKEN_VARIABLE = "MEDLEY_SERVE_TOKEN"
# What a question without an upload may take.
MAX_QUESTION_BYTES = 1_000_000


@dataclass(frozen=True)
class Settings:
    """See the options of the verb. token: empty where none is asked for. hosts: further names that are answered."""

    workspace: Path
    host: str = "127.0.0.1"
    port: int = 8765
    refresh_seconds: float = 60.0
    max_upload_bytes: int = 20_000_000
    rate: str = "120/minute"
    hosts: tuple[str, ...] = ()
    token: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can ask. Raises ConfigError if the host is none."""
        try:
            places = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"--host {self.host}: no such address ({getattr(error, 'strerror', error)})") from None
        return all(ipaddress.ip_address(str(place[4][0]).partition("%")[0]).is_loopback for place in places)

    def check(self) -> None:
        """Raises ConfigError if others could ask without a token, or the rate is none."""
        rate_of(self.rate)
        if not self.token.isascii():
            raise ConfigError(f"{TOKEN_VARIABLE}: headers carry letters of ASCII alone; set it to others")
        if self.hosts and not self.token:
            raise ConfigError(
                f"--allow-host {self.hosts[0]}: who asks by it is not on this machine; set {TOKEN_VARIABLE} to a token "
                "that they must give"
            )
        if not self.is_loopback and not self.token:
            raise ConfigError(
                f"--host {self.host}: others than this machine could ask; set {TOKEN_VARIABLE} to a token that they "
                "must give, or leave the host at 127.0.0.1"
            )

    def listen(self) -> socket.socket:
        """A socket that listens. Raises ConfigError if the port is taken, or not allowed."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host, self.port), family=family, backlog=128)
        except OSError as error:
            fault = (os.strerror(error.errno) if error.errno else str(error)).lower()
            raise ConfigError(f"--port {self.port}: {fault} at {self.host}; give another with --port") from None
