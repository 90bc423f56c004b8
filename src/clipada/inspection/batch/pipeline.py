"""Pipeline of decoding, inference and writing: one outcome per image, in order, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clipada.config import PredictConfig
from clipada.data.labels import mask_error
from clipada.inspection import Inspector
from clipada.inspection.batch.sources import Source
from clipada.inspection.pictures import write_pictures
from clipada.inspection.record import Record, verdict_record
from clipada.types import Failure, Verdict

WRITES_AHEAD = 2
"""Images that may wait for each thread that writes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one image.

    Attributes:
        result: The verdict, or the failure; ``None`` if another machine of a cluster made it.
        record: The content of its JSON line.
    """

    result: Verdict | Failure | None
    record: Record


def outcomes(
    inspector: Inspector, sources: Iterable[Source], out: Path | None, settings: PredictConfig
) -> Iterator[Outcome]:
    """Inspect images and, with ``out``, write their pictures there.

    While one batch is inferred, threads decode the next ones and draw and write the one before: Pillow, zlib and the
    engines release the GIL. An outcome is handed out when its pictures are on the disk. At most four batches and
    ``WRITES_AHEAD`` images per thread exist at a time.

    Raises:
        RunError: The run's maps are not finite.
        OSError: A picture cannot be written.
    """
    taken: deque[Source] = deque()

    def paths() -> Iterator[Path]:
        for source in sources:
            taken.append(source)
            yield source.path

    pending: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(settings.workers, thread_name_prefix="clipada-write") as pool:
        try:
            for result in inspector.inspect_files(paths(), batch_size=settings.batch_size, workers=settings.workers):
                pending.append(pool.submit(_finished, result, taken.popleft().name, out))
                while pending and (len(pending) > WRITES_AHEAD * settings.workers or pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _finished(result: Verdict | Failure, name: str, out: Path | None) -> Outcome:
    """Draw and write a result's pictures and describe it; runs in a thread."""
    if isinstance(result, Verdict) and result.path is not None and (error := mask_error(result)) is not None:
        result = Failure(path=result.path, error=error)
    if out is not None and isinstance(result, Verdict):
        write_pictures(out, name, result)
    return Outcome(result, verdict_record(result))
