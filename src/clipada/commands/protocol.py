"""Write a test protocol for a run."""

from __future__ import annotations

from pathlib import Path

from clipada.config import ProtocolConfig
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
    engine: str = "",
) -> Path:
    """Write a test protocol: acceptance criteria first, independent data, procedure, record sheets, signatures.

    It is filled with what the run folder records: hashes, training, calibration, metrics, and the kinds of defects that
    its evaluation found and missed.

    Args:
        run: The run folder.
        out: The file, ``.md`` or ``.html``, or a folder for ``protocol.md``; by default the run folder.
        settings: The criteria that are proposed.
        engine: Options of the line's engine, as on the command line, e.g. ``"--engine openvino"``.

    Returns:
        The file.

    Raises:
        ConfigError: ``out`` ends otherwise.
        RunError: The run folder is incomplete.
        CalibrationError: The run's calibration is damaged or of another model.
    """
    description = read_run(Path(run))
    given = Path(out or run)
    path = given / PROTOCOL if given.is_dir() else given
    if path.suffix not in _WRITERS:
        raise ConfigError(f"cannot write a protocol as {path.name}", expected=" or ".join(_WRITERS), got=path.suffix)
    calibration = load_calibration(description)[0]
    sections = write_protocol(
        description, calibration, recorded_kinds(description.metrics), settings or ProtocolConfig(), engine
    )
    write_text(path, _WRITERS[path.suffix](f"Test protocol: visual inspection with {description.label}", sections))
    return path
