"""Choice of the references to which a training aligns images: of each product, a good image that is like the others."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clipada.config import Config
from clipada.data import read_batches
from clipada.errors import AlignmentError, DatasetError
from clipada.images import resize
from clipada.images.alignment import Alignment, Reference
from clipada.images.registration import Motion, compared_size
from clipada.types import Failure, Image, Sample

log = logging.getLogger(__name__)

CANDIDATES, JUDGES = 5, 16
"""Good images of a product, evenly spaced, of which one becomes the reference, and those that each is compared with."""

LEAST_FIT = 0.25
"""Fit below which images have nothing in common: that of noise."""

OF_MEDIAN = 0.6
"""Least fit of an image, as a share of the median of good ones. Screw of MVTec AD: good and defective parts have 0.76
and more, four other products at most 0.52."""

CLOSE = 0.05
"""Difference of the median fit below which two candidates are alike, so that the one nearest to the middle is taken."""


def choose_references(samples: Sequence[Sample], config: Config, workers: int) -> Alignment | None:
    """Choose the reference of each product; ``None`` if the settings ask for no alignment.

    Args:
        samples: Good images.
        config: All settings.
        workers: Threads that decode.

    Raises:
        DatasetError: The good images of a product do not fit each other.
    """
    motion = config.inspection.align
    if motion == "none":
        return None
    by_product: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_product[sample.category].append(sample)
    return Alignment(
        motion=motion,
        references={name: _reference(name, own, config, motion, workers) for name, own in by_product.items()},
    )


def _reference(name: str, samples: Sequence[Sample], config: Config, motion: Motion, workers: int) -> Reference:
    """Choose the reference of a product."""
    chosen = samples[:: max(1, len(samples) // JUDGES)]
    read = read_batches(
        [sample.path for sample in chosen],
        config.model.size,
        len(chosen),
        workers,
        rules=config.model.rules,
        keep_originals=True,
    )
    images, names = [], []
    for batch in read:
        images += [_small(image) for image in batch.originals]
        names += [path.name for path in batch.paths]
    if not images:
        raise DatasetError(f"no good image of {name} can be read", remedy="check the files")
    places = range(0, len(images), -(-len(images) // CANDIDATES))
    judged = [_Candidate.of(place, images, names[place], motion) for place in places]
    best = max(one.fit for one in judged)
    found = min((one for one in judged if one.fit > best - CLOSE), key=lambda one: one.distance)
    if found.fit < LEAST_FIT:
        raise _unlike(name, found.fit, motion)
    return replace(found.reference, least=round(max(LEAST_FIT, OF_MEDIAN * found.fit), 3))


def require_fitting(name: str, failures: Sequence[Failure], read: int) -> None:
    """Warn of good images that do not fit their reference; raise ``DatasetError`` if more do not than were read."""
    unlike = [failure for failure in failures if isinstance(failure.error, AlignmentError)]
    if not unlike:
        return
    if len(unlike) > read:
        raise DatasetError(
            f"most good images of {name} do not fit its reference",
            expected="a part that looks alike in all of them",
            got=f"{len(unlike)} of {len(unlike) + read} that do not fit, {unlike[0].path.name} one of them",
            remedy="take the images of another product out; or train with inspection.align=none",
        )
    log.warning(
        "left out %d of %d good images of %s, which do not fit its reference (first: %s)",
        len(unlike),
        len(unlike) + read,
        name,
        unlike[0].path,
    )


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A good image that may become the reference.

    Attributes:
        reference: It, as a reference.
        fit: Median fit of the other images, 0..1.
        distance: Distance, as a share of the image's side, of the median place of the part from that in this image.
    """

    reference: Reference
    fit: float
    distance: float

    @classmethod
    def of(cls, place: int, images: Sequence[Image], photo: str, motion: Motion) -> _Candidate:
        """Compare one of the images with the others."""
        reference = Reference.of(images[place], photo, LEAST_FIT)
        found = [reference.find(image, motion) for number, image in enumerate(images) if number != place]
        if not found:
            return cls(reference=reference, fit=1.0, distance=0.0)
        moved = [(one.right / one.size[1], one.down / one.size[0]) for one in found]
        return cls(
            reference=reference,
            fit=float(np.median([one.fit for one in found])),
            distance=float(np.linalg.norm(np.median(moved, axis=0))),
        )


def _small(image: Image) -> Image:
    return resize(image, compared_size(image.shape[1], image.shape[0]))


def _unlike(name: str, fit: float, motion: Motion) -> DatasetError:
    """Make the error for good images of which most do not fit each other."""
    other = "" if motion == "pose" else "inspection.align=pose if the part is turned; or "
    return DatasetError(
        f"the good images of {name} cannot be aligned",
        expected=f"a part that looks alike in all of them, moved{' and turned' if motion == 'pose' else ''}: a fit of "
        f"{LEAST_FIT} or more",
        got=f"a median fit of {fit:.2f}",
        remedy=f"train with {other}inspection.align=none",
    )
