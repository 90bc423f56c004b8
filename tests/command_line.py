"""The command line in tests: what a command left behind, its options for the tiny CLIP, and a process of its own."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

TINY_SETTINGS = ("backbone.block=2", "prompt.prefix=a photo of a", "model.image_size=32", "training.batch_size=4")
TINY = [
    *(word for setting in TINY_SETTINGS for word in ("--set", setting)),
    *("--epochs", "2", "--device", "cpu", "--workers", "0"),
]
"""Options of a training of seconds on the tiny CLIP."""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines: every line is one, and none holds ``NaN``."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is no JSON")

        return [json.loads(line, parse_constant=refuse) for line in self.out.splitlines()]

    def refused(self, *words: str) -> None:
        """Check that it was refused as a user's mistake is: in words, with a way out, without a traceback."""
        assert self.code == 2, self.err
        assert any(line.startswith(("error: ", "Usage:")) for line in self.err.splitlines()), self.err
        assert "Traceback" not in self.err
        assert any(way in self.err for way in ("expected: ", "remedy: ", "Usage:")), self.err
        for word in words:
            assert word in self.err, f"{word!r} is not in:\n{self.err}"
        assert self.out == ""


Command = Callable[..., Outcome]


def noise(height: int = 37, width: int = 91, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def process(*words: object, file_size: int | None = None, **options: Any) -> subprocess.Popen[str]:
    """The command line as a process of its own, which writes no file of more than ``file_size`` bytes."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    command = [sys.executable, "-m", "clipada", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen(command, preexec_fn=prepare, **(pipes | options))  # noqa: PLW1509
