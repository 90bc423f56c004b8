"""Use of an export in words: verdicts that differ, and the faster arithmetic of this CPU."""

from pathlib import Path

import numpy as np
import pytest

from clipada.engines.export.images import Photo
from clipada.engines.export.practice import Practice, measure_practice
from clipada.types import Localization, Progress

OLD, NEW = "a CPU, 2 cores, AVX2", "a CPU, 2 cores, AVX2 AVX-512 VNNI"


class Constant:
    """Engine whose maps have the mean value of the image, plus a shift."""

    passes, size, depth = 1, (2, 2), None

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def localize(self, images: np.ndarray) -> Localization:
        return Localization(maps=images.astype(np.float32).mean(-1)[np.newaxis] + np.float32(self.shift))


def practice(**changes: object) -> Practice:
    values = {"images": 48, "same_verdict": 47, "by": "the calibration", "size": 2_340_000}
    return Practice(**values | {"torch_ms": 120.0, "export_ms": 60.0} | changes)  # type: ignore[arg-type]


def test_verdicts_that_differ_are_counted() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 2, 2, 3), np.uint8)
    steps: list[Progress] = []
    found = measure_practice(
        {"torch": Constant(0), "export": Constant(1)},
        [Photo(Path(f"{index}.png"), image, image) for index, image in enumerate(images)],
        len(images),
        lambda _, found: bool(found.maps.max() > 2.5),
        by="the map",
        size=1,
        report=steps.append,
    )
    assert (found.images, found.same_verdict) == (5, 4)  # the third image is beyond 2.5 for the export alone
    assert [step.done for step in steps] == [1, 2, 3, 4, 5]


def test_size_and_time_are_told_in_words() -> None:
    assert practice().describe(NEW) == (
        "same verdict on 47 of 48 images, by the calibration",
        f"2.3 MB; 60 ms an image, 2.0 times as fast as torch with 120 ms ({NEW})",
    )


@pytest.mark.parametrize(
    ("fp32", "cpu", "said"),
    [
        (90.0, NEW, "int8 is 1.5 times as fast as fp32 with 90 ms on this CPU"),
        (30.0, NEW, "int8 is 2.0 times as slow as fp32 with 30 ms on this CPU: export fp32 for such a CPU"),
        (90.0, OLD, "1.5 times as fast as fp32 with 90 ms on this CPU; it has no VNNI, the instructions for int8"),
        (30.0, OLD, "on this CPU: export fp32 for such a CPU; it has no VNNI, the instructions for int8"),
        (30.0, "an ARM CPU, 4 cores", "on this CPU: export fp32 for such a CPU"),  # has instructions of other names
    ],
)
def test_the_faster_arithmetic_of_this_cpu_is_named(fp32: float, cpu: str, said: str) -> None:
    assert practice(fp32_ms=fp32).describe(cpu)[2].endswith(said)
