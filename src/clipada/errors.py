"""The errors a user can meet, each saying what failed, what was expected, what was found and what to do."""


class ClipAdaError(Exception):
    """Base of every error this package raises for bad input.

    Args:
        what: The thing that failed and where, e.g. ``"cannot read image part.png"``.
        expected: What would have been accepted.
        got: What was found instead.
        remedy: What the user can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.expected = expected
        self.got = got
        self.remedy = remedy
        parts = {"expected": expected, "got": got, "remedy": remedy}
        super().__init__("\n".join([what, *(f"  {name}: {text}" for name, text in parts.items() if text)]))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.expected, self.got, self.remedy)


def _rebuild(
    kind: type[ClipAdaError], what: str, expected: str | None, got: str | None, remedy: str | None
) -> ClipAdaError:
    """Carry an error across processes with all its parts."""
    return kind(what, expected=expected, got=got, remedy=remedy)


class ImageError(ClipAdaError):
    """An image or mask file is missing, damaged, or of a kind that cannot be inspected."""


class ImageKindError(ImageError):
    """A file is no image of a kind that is read."""


class ImageSizeError(ImageError):
    """An image has more pixels than are decoded."""


class DatasetError(ClipAdaError):
    """A folder does not hold a data set that can be used as asked."""


class ConfigError(ClipAdaError):
    """A setting is out of range or contradicts another."""


class BackboneError(ClipAdaError):
    """A CLIP checkpoint cannot be found, loaded, or is not the one a run was trained with."""


class RunError(ClipAdaError):
    """A run folder is missing, unfinished, damaged, or in the way."""


class HistoryError(ClipAdaError):
    """The database of verdicts cannot be used as asked."""


class SinkError(ClipAdaError):
    """A sink cannot be used as asked, or has not taken a verdict."""


class CalibrationError(ClipAdaError):
    """A calibration cannot promise what is asked, is damaged, or is of another model."""
