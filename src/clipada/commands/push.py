"""A run for others: a folder without this machine's paths, a model card with its metrics, and the way to the hub."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clipada.config import EMBEDDED_BACKBONE
from clipada.errors import RunError
from clipada.files import made_folder, read_json, write_json, write_text
from clipada.report import METRIC_COLUMNS, model_card
from clipada.runs import CARD, CONFIG, METRICS, Run, read_run
from clipada.runs.hub import EXPORTS, RUN_FILES, refusals_told

TASK = ("anomaly-detection", "Anomaly detection and localization")
"""The card's task: type and name."""

_TYPES = {"I-AUC": "roc_auc", "P-AUC": "roc_auc", "P-mAP": "average_precision"}
"""The hub's names of metrics that have one."""


def save_pretrained(run: Path | str | Run, folder: Path | str, *, exports: bool = False, **card: Any) -> Path:
    """Write what ``push_to_hub`` would upload: to look at, or to carry to a machine that may upload it.

    Args:
        run: The run folder, or what was read of it.
        folder: The folder to write; must be new or empty.
        exports: Whether the run's exports come along. They hold the backbone's weights.
        card: As for ``card_data``.

    Returns:
        The folder: a run like any other, without paths of this machine.

    Raises:
        RunError: The run folder is not whole, or ``folder`` is in the way.
    """
    description, target = run if isinstance(run, Run) else read_run(Path(run)), made_folder(Path(folder))
    if any(target.iterdir()):
        raise RunError(f"folder {target} is in the way", expected="a new or empty folder", got="one with files")
    source = description.folder
    for path in sorted((source / EXPORTS).rglob("*") if exports else []):
        if path.is_file():
            made_folder((target / path.relative_to(source)).parent)
            shutil.copyfile(path, target / path.relative_to(source))
    for name in RUN_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    for name, told in ((CONFIG, _settings_for_others), (METRICS, _metrics_for_others)):
        if (target / name).exists():
            write_json(target / name, told(read_json(target / name, "")))
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
        run: The run folder, or what was read of it.
        name: ``owner/name``; made if it is not there.
        private: Whether a repository that is made is private. One that is there stays as it is.
        exports: Whether the run's exports come along. They hold the backbone's weights.
        revision: The branch; the main one by default.
        message: The commit's message.
        token: An access token; by default the one that ``hf auth login`` stored, or ``HF_TOKEN``.
        license: The licence's identifier for the model card, e.g. ``"apache-2.0"``.

    Returns:
        Where it is, a URL.

    Raises:
        RunError: The run folder is not whole, or the hub does not take it.
    """
    from huggingface_hub import HfApi

    description, api = run if isinstance(run, Run) else read_run(Path(run)), HfApi(token=token)
    with TemporaryDirectory() as temporary:
        folder = save_pretrained(description, Path(temporary) / "run", exports=exports, name=name, license=license)
        with refusals_told(
            f"cannot push run {description.folder} to {name}",
            expected="a name owner/name that you may write to, and a network",
            remedy="log in with `hf auth login`; without a network run `clipada push` with --out FOLDER, and "
            f"`hf upload {name} FOLDER` on a machine that has one",
        ):
            url = str(api.create_repo(name, private=private, exist_ok=True))
            if revision is not None:
                api.create_branch(name, branch=revision, exist_ok=True)
            said = message or f"Upload {name.rpartition('/')[2]}, trained with clipada {description.clipada_version}"
            api.upload_folder(repo_id=name, folder_path=folder, revision=revision, commit_message=said)
    return url


def card_data(run: Run, *, name: str | None = None, license: str | None = None) -> Any:  # noqa: A002
    """The model card's metadata: what the hub lists, searches and compares.

    Args:
        run: The run.
        name: ``owner/name``, or the model's name; the run folder's by default.
        license: The licence's identifier, if it has one.

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
    """The mean's figures and each category's, in percent, as the hub wants them."""
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


def _settings_for_others(content: dict[str, Any]) -> dict[str, Any]:
    """``config.json`` with the names of this machine's folders and files in the place of their paths."""
    backbone, synthesis, training = content["config"]["backbone"], content["config"]["synthesis"], content["training"]
    if backbone["name"] != EMBEDDED_BACKBONE and Path(backbone["name"]).is_absolute():
        backbone["name"] = Path(backbone["name"]).name
    if synthesis.get("textures"):
        synthesis["textures"] = Path(synthesis["textures"]).name
    training["unreadable"] = [Path(path).name for path in training["unreadable"]]
    training["data"] = Path(training.get("data", "")).name
    return content


def _metrics_for_others(content: dict[str, Any]) -> dict[str, Any]:
    """``metrics.json`` with the names of the files left out in the place of their paths."""
    content["protocol"]["left_out"] = [Path(path).name for path in content["protocol"].get("left_out", [])]
    return content
