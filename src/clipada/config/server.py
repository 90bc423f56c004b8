"""Settings of the inspection server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from clipada.config.input_check import InputCheckConfig
from clipada.config.predict import BatchConfig
from clipada.config.schema import require


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Address, limits and waiting times of the server."""

    host: str = "127.0.0.1"
    """The address to listen on; ``0.0.0.0`` or ``::`` for all addresses of the machine."""

    port: int = 8000
    """The port; 0 for any free one."""

    allow_origins: tuple[str, ...] = ()
    """Web origins whose pages may call the server besides its own, e.g. ``https://plant.example``."""

    queue_length: int = 64
    """Largest number of images of one model that wait or are being uploaded; more are refused with 429."""

    max_batch: int = BatchConfig.batch_size
    """Largest number of images per forward pass."""

    wait_ms: float = 2.0
    """Milliseconds that the first image of a batch waits for others."""

    upload_bytes: int = 20_000_000
    """Bytes of the largest request with one image."""

    batch_images: int = 32
    """Largest number of images in one request to ``/v1/inspect/batch``."""

    batch_bytes: int = 100_000_000
    """Bytes of the largest such request."""

    waiting_bytes: int = 500_000_000
    """Bytes that all requests in upload, in queues and in work may hold together; more are refused with 429."""

    max_pixels: int = 50_000_000
    """Pixels of the largest image that is decoded, and of all images of a batch."""

    upload_seconds: float = 15.0
    """Seconds that a request may take to arrive."""

    answer_seconds: float = 30.0
    """Seconds that an image may wait; then, unless its batch is running, it is canceled and nothing is stored."""

    stop_seconds: float = 30.0
    """Seconds to answer accepted images when the server stops; the rest is still inspected and stored."""

    input_check: InputCheckConfig = InputCheckConfig()
    """The check for images that are not inspectable."""

    page_length: int = 50
    """Number of verdicts in an answer of ``/v1/verdicts``, unless the caller asks for another."""

    def __post_init__(self) -> None:
        require(bool(self.host), "host", "an address", self.host)
        require(0 <= self.port <= 65535, "port", "0 to 65535", self.port)
        for name in ("queue_length", "max_batch", "batch_images", "upload_bytes", "max_pixels"):
            require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        for name in ("upload_seconds", "answer_seconds", "stop_seconds"):
            require(getattr(self, name) > 0, name, "more than 0", getattr(self, name))
        require(0 <= self.wait_ms <= 1000, "wait_ms", "0 to 1000", self.wait_ms)
        slots = f"at most queue_length, {self.queue_length}"
        require(self.batch_images <= self.queue_length, "batch_images", slots, self.batch_images)
        require(self.batch_bytes >= self.upload_bytes, "batch_bytes", "at least upload_bytes", self.batch_bytes)
        require(self.waiting_bytes >= self.batch_bytes, "waiting_bytes", "at least batch_bytes", self.waiting_bytes)
        for origin in self.allow_origins:
            whole = origin.startswith(("http://", "https://")) and origin.count("/") == 2
            require(whole, "allow_origins", "origins such as https://plant.example", origin)

    @property
    def loopback(self) -> bool:
        """True if only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
