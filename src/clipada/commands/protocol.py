"""Write a test protocol for a run."""

from __future__ import annotations

from pathlib import Path

from clipada.config import EngineName, EnginePrecision, ProtocolConfig
from clipada.errors import ConfigError
from clipada.files import write_text
from clipada.report.blocks import to_html, to_markdown
from clipada.report.protocol import write_protocol
from clipada.runs import load_calibration, read_run
from clipada.runs.metrics import recorded_kinds

PROTOCOL = "protocol.md"

_WRITERS = {".md": to_markdown, ".html": to_html}


def protocol(
    run: Path | str,
    out: Path | str | None = None,
    settings: ProtocolConfig | None = None,
    *,
    engine: EngineName | None = None,
    precision: EnginePrecision | None = None,
) -> Path:
    """Write a test protocol: acceptance criteria first, independent data, procedure, record sheets, signatures.

    It is filled with what the run folder records: hashes, training, calibration, metrics, and the kinds of defects that
    its evaluation found and missed.

    Args:
        run: The run folder.
        out: The file, ``.md`` or ``.html``, or a folder for ``protocol.md``; by default the run folder.
        settings: The criteria that are proposed.
        engine: The line's engine, for the commands of the procedure; by default left open.
        precision: The line's precision, likewise.

    Returns:
        The file.

    Raises:
        ConfigError: ``out`` ends otherwise.
        RunError: The run folder is incomplete.
        CalibrationError: The run's calibration is damaged or of another model.
    """
    description = read_run(Path(run))
    place = Path(out or run)
    path = place / PROTOCOL if place.is_dir() else place
    if path.suffix not in _WRITERS:
        raise ConfigError(f"cannot write a protocol as {path.name}", expected=" or ".join(_WRITERS), got=path.suffix)
    calibration = load_calibration(description)[0]
    given = {"--engine": engine, "--precision": precision}
    options = " ".join(f"{name} {value}" for name, value in given.items() if value is not None)
    kinds = recorded_kinds(description.metrics)
    sections = write_protocol(description, calibration, kinds, settings or ProtocolConfig(), options)
    write_text(path, _WRITERS[path.suffix](f"Test protocol: visual inspection with {description.label}", sections))
    return path
