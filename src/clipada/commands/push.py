"""Publication of a run: a folder without this machine's paths, its model card with metrics, and the upload."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clipada.config import EMBEDDED_BACKBONE
from clipada.errors import RunError
from clipada.files import ensure_folder, read_json, write_json, write_text
from clipada.report import METRIC_COLUMNS, model_card
from clipada.report.card import without_path
from clipada.runs import CARD, CONFIG, EXPORTS, METRICS, Run, read_run, require_all_sealed, seal
from clipada.runs.contents import DECIDING, PUBLISHED
from clipada.runs.hub import as_run_errors, find_run

TASK = ("anomaly-detection", "Anomaly detection and localization")
"""Type and name of the card's task."""

_TYPES = {"I-AUC": "roc_auc", "P-AUC": "roc_auc", "P-mAP": "average_precision"}
"""Names that the hub has for some metrics."""


def save_pretrained(run: Path | str | Run, folder: Path | str, *, exports: bool = False, **card: Any) -> Path:
    """Write the folder that ``push_to_hub`` would upload: for review, or to upload from another machine.

    Args:
        run: The run folder or its description.
        folder: The folder to write; must be new or empty.
        exports: True to include the run's exports. They contain the backbone's weights.
        card: Arguments of ``card_data``.

    Returns:
        The folder: a usable run without paths of this machine.

    Raises:
        RunError: The run folder is incomplete or not as it was sealed, or ``folder`` is not empty.
    """
    description = find_run(run) if isinstance(run, Run) else read_run(Path(run))
    require_all_sealed(description, exports=exports)
    target = ensure_folder(Path(folder))
    if any(target.iterdir()):
        raise RunError(f"folder {target} is in the way", expected="a new or empty folder", got="one with files")
    source = description.folder
    for path in sorted((source / EXPORTS).rglob("*") if exports else []):
        if path.is_file():
            ensure_folder((target / path.relative_to(source)).parent)
            shutil.copyfile(path, target / path.relative_to(source))
    for name in PUBLISHED:
        if description.path(name).is_file():
            shutil.copyfile(description.path(name), target / name)
    for name, without_paths in ((CONFIG, _config_without_paths), (METRICS, _metrics_without_paths)):
        if (target / name).exists():
            write_json(target / name, without_paths(read_json(target / name, "")))
    seal(target)
    data = card_data(description, **card)
    write_text(target / CARD, f"---\n{data.to_yaml()}\n---\n\n{model_card(description, card.get('name'))}")
    return target


def push_to_hub(
    run: Path | str | Run,
    name: str,
    *,
    private: bool = True,
    exports: bool = False,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
    license: str | None = None,  # noqa: A002
) -> str:
    """Upload a run to the Hugging Face hub; ``Inspector.load(name)`` finds it there.

    Args:
        run: The run folder or its description.
        name: ``owner/name``; the repository is created if it does not exist.
        private: True to create a private repository. An existing one is not changed.
        exports: True to include the run's exports. They contain the backbone's weights.
        revision: The branch; the main one by default.
        message: The commit's message.
        token: An access token; by default the one that ``hf auth login`` stored, or ``HF_TOKEN``.
        license: The license's identifier for the model card, e.g. ``"apache-2.0"``.

    Returns:
        URL of the repository.

    Raises:
        RunError: The run folder is incomplete, or the hub refuses it.
    """
    from huggingface_hub import HfApi

    description, api = run if isinstance(run, Run) else read_run(Path(run)), HfApi(token=token)
    with TemporaryDirectory() as temporary:
        folder = save_pretrained(description, Path(temporary) / "run", exports=exports, name=name, license=license)
        with as_run_errors(
            f"cannot push run {description.folder} to {name}",
            expected="a name owner/name that you may write to, and a network",
            remedy="log in with `hf auth login`; without a network run `clipada push` with --out FOLDER, and "
            f"`hf upload {name} FOLDER` on a machine that has one",
        ):
            url = str(api.create_repo(name, private=private, exist_ok=True))
            if revision is not None:
                api.create_branch(name, branch=revision, exist_ok=True)
            subject = message or f"Upload {name.rpartition('/')[2]}, trained with clipada {description.clipada_version}"
            api.upload_folder(
                repo_id=name,
                folder_path=folder,
                revision=revision,
                commit_message=subject,
                delete_patterns=list(DECIDING),  # files of an earlier push that this run has not been sealed with
            )
    return url


def card_data(run: Run, *, name: str | None = None, license: str | None = None) -> Any:  # noqa: A002
    """Make the model card's metadata, which the hub lists, searches and compares.

    Args:
        run: The run.
        name: ``owner/name``, or the model's name; the run folder's by default.
        license: The license's identifier, if it has one.

    Returns:
        A ``huggingface_hub.ModelCardData``; the metrics are its ``model-index``.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = [EvalResult(**result) for result in _results(run.metrics)] if run.metrics else None
    backbone = run.config.backbone.name
    return ModelCardData(
        base_model=backbone if "/" in backbone and not Path(backbone).is_absolute() else None,
        library_name="clipada",
        license=license,
        tags=["anomaly-detection", "anomaly-localization", "visual-inspection", "clip"],
        model_name=(name or run.folder.resolve().name).rpartition("/")[2],
        eval_results=results,
    )


def _results(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the metrics of the mean and of each category, in percent, in the hub's form."""
    data = str(metrics["protocol"]["data"])
    views = {"mean over categories": metrics["mean"], **metrics["categories"]}
    return [
        {
            "task_type": TASK[0],
            "task_name": TASK[1],
            "dataset_type": re.sub(r"[^\w.-]+", "-", data),
            "dataset_name": data if view == "mean over categories" else f"{data}, {view}",
            "dataset_config": None if view == "mean over categories" else view,
            "dataset_split": "test",
            "metric_type": _TYPES.get(head, re.sub(r"[^a-z0-9]+", "_", head.lower())),
            "metric_name": f"{head}, percent",
            "metric_value": round(100 * values[field], 2),
        }
        for view, values in views.items()
        for head, field in METRIC_COLUMNS.items()
        if isinstance(values.get(field), float)
    ]


def _config_without_paths(content: dict[str, Any]) -> dict[str, Any]:
    """Replace the paths in the content of ``config.json`` by names; the files are those of the revision in force."""
    content.pop("revision", None)
    backbone, synthesis, training = content["config"]["backbone"], content["config"]["synthesis"], content["training"]
    if backbone["name"] != EMBEDDED_BACKBONE and Path(backbone["name"]).is_absolute():
        backbone["name"] = Path(backbone["name"]).name
    if synthesis.get("textures"):
        synthesis["textures"] = Path(synthesis["textures"]).name
    training["unreadable"] = [Path(path).name for path in training["unreadable"]]
    training["data"] = Path(training.get("data", "")).name
    return content


def _metrics_without_paths(content: dict[str, Any]) -> dict[str, Any]:
    """Replace the paths of skipped files in the content of ``metrics.json`` by their names."""
    protocol = content["protocol"]
    for name in ("left_out", "trained_on", "not_inspectable"):
        protocol[name] = [Path(path).name for path in protocol.get(name, [])]
    protocol["notes"] = list(map(without_path, protocol.get("notes", [])))
    return content
