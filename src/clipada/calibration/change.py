"""Change from one calibration to another: its thresholds, and the verdicts that differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from clipada.calibration.record import Calibration, CalibrationImage, Limits


@dataclass(frozen=True, kw_only=True)
class CalibrationChange:
    """Difference between a run's present calibration and the one that is to replace it.

    Attributes:
        old: The present calibration.
        new: The one that is to replace it, of the same model.
    """

    old: Calibration = field(repr=False)
    new: Calibration = field(repr=False)

    @property
    def limits(self) -> dict[str | None, tuple[Limits, Limits]]:
        """Old and new thresholds that are applied to each group with thresholds of its own in either calibration.

        ``None``, the first, stands for all images pooled.
        """
        names = (None, *sorted(self.old.groups.keys() | self.new.groups.keys()))
        return {name: (self.old.limits(name), self.new.limits(name)) for name in names}

    @cached_property
    def now_defective(self) -> int:
        """Number of the old calibration's images that only the new thresholds call defective."""
        return sum(after and not before for before, after in self._verdicts)

    @cached_property
    def now_good(self) -> int:
        """Number of the old calibration's images that only the old thresholds call defective."""
        return sum(before and not after for before, after in self._verdicts)

    @property
    def changed_share(self) -> float:
        """Share of the old calibration's images, 0..1, whose verdict changes."""
        return (self.now_defective + self.now_good) / len(self.old.images)

    @cached_property
    def old_alarms(self) -> int:
        """Number of the new calibration's images, all of good parts, that the old thresholds call defective."""
        own = {image.sha256: image.group for image in self.old.images}
        return sum(_defective(image, self.old, self._group(image, own)) for image in self.new.images)

    @property
    def lost_groups(self) -> tuple[str, ...]:
        """Groups of the old calibration that the new one does not have, or not with thresholds of their own."""
        unknown = self.old.group_sizes.keys() - self.new.group_sizes.keys()
        return tuple(sorted(unknown | (self.old.groups.keys() - self.new.groups.keys())))

    @cached_property
    def _verdicts(self) -> tuple[tuple[bool, bool], ...]:
        """For each image of the old calibration, True if it is defective by the old and by the new thresholds."""
        own = {image.sha256: image.group for image in self.new.images}
        return tuple(
            (_defective(image, self.old, image.group), _defective(image, self.new, self._group(image, own)))
            for image in self.old.images
        )

    def _group(self, image: CalibrationImage, known: dict[str, str | None]) -> str | None:
        """Return the group of one calibration's image in the other, which knows the groups of its own images.

        Paths are not stored: under another rule, the group of an image that only one of them has is unknown.
        """
        same_rule = self.old.settings.per == self.new.settings.per
        return known.get(image.sha256, image.group if same_rule else None)


def _defective(image: CalibrationImage, calibration: Calibration, group: str | None) -> bool:
    return image.score > calibration.limits(group).score
