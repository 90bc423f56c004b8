"""What a training set out to do, kept in its run folder until it is done, so that it can go on after a kill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipada.config import Config, RuntimeConfig, setting_names
from clipada.data import Dataset, Layout, load_dataset
from clipada.errors import ConfigError, DatasetError, RunError
from clipada.files import read_json, write_json
from clipada.runs import ADAPTER, CONFIG, PLAN, Run, read_run

_REMEDY = "delete it and resume with all the options the training began with, or train into another folder"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings and data of a training.

    Attributes:
        config: All settings.
        data: The data set's folder, absolute.
        layout: The layout it was read as.
        categories: The categories it trains on.
    """

    config: Config
    data: Path
    layout: Layout
    categories: tuple[str, ...]

    @classmethod
    def of(cls, config: Config, dataset: Dataset) -> Plan:
        """The plan to train on ``dataset``."""
        return cls(config=config, data=dataset.root.resolve(), layout=dataset.layout, categories=dataset.categories)

    def load_dataset(self) -> Dataset:
        """List the images again; raises ``DatasetError`` if they are gone."""
        return load_dataset(self.data, self.layout, self.categories)

    def require(self, asked: Plan) -> None:
        """Raise ``RunError`` unless another plan is the same but for what does not change the adapter.

        The data and the backbone may lie elsewhere, and checkpoints may come at another pace.
        """
        _require_equal(
            self._fingerprint_settings(),
            asked._fingerprint_settings(),
            "the options contradict those the training began with",
            remedy="leave them out: --resume goes on with what was recorded; or train into another folder",
        )

    def _fingerprint_settings(self) -> dict[str, object]:
        """What decides the adapter, by name."""
        return {**self.config.fingerprint_settings(), "layout": self.layout, "categories": self.categories}


def save_plan(folder: Path, plan: Plan) -> None:
    """Write ``plan`` into a run folder."""
    content = {"data": str(plan.data), "layout": plan.layout, "categories": list(plan.categories)}
    write_json(folder / PLAN, {**content, "config": plan.config.to_dict()})


def read_plan(folder: Path) -> Plan | None:
    """The plan in a run folder, or ``None`` where no training has begun or one is done.

    Raises:
        RunError: The file is damaged.
    """
    path = folder / PLAN
    if not path.is_file():
        return None
    content = read_json(path, _REMEDY)
    try:
        return Plan(
            config=Config.from_dict(content["config"]),
            data=Path(content["data"]),
            layout=content["layout"],
            categories=tuple(content["categories"]),
        )
    except (ConfigError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged", got=str(error), remedy=_REMEDY) from error


def begun(out: Path | str) -> Config | None:
    """The settings of the training in a run folder, finished or not; ``None`` where there is none.

    Raises:
        RunError: What the folder recorded is damaged.
    """
    if _whole(Path(out)):
        return read_run(Path(out)).config
    plan = read_plan(Path(out))
    return None if plan is None else plan.config


def training_data(data: Path | str | Dataset | None, plan: Plan | None, resumed: Path | None = None) -> Dataset:
    """The data set to train on, read as planned where only its folder is given or nothing at all.

    Raises:
        DatasetError: There are no images.
        RunError: There is neither data nor, in ``resumed``, a training to go on with.
    """
    if isinstance(data, Dataset):
        return data
    if data is not None:
        return load_dataset(Path(data), *((plan.layout, plan.categories) if plan else ()))
    if plan is None and resumed is not None:
        raise RunError(
            f"no training to go on with in {resumed}",
            expected=f"a folder with {PLAN}, of an unfinished training, or a finished run",
            got=_what_lies(resumed) if resumed.exists() else "no such folder",
            remedy="mend --out, or name DATA to begin one there",
        )
    if plan is None:
        raise DatasetError(
            "no data to train on",
            expected="DATA, a folder",
            remedy="only --resume goes without",
        )
    return plan.load_dataset()


def _whole(folder: Path) -> bool:
    return (folder / CONFIG).exists() and (folder / ADAPTER).exists()


def is_finished(folder: Path, resume: bool) -> bool:
    """Whether the run folder already holds a finished run that may be returned; raises if it is in the way."""
    finished = _whole(folder)
    if not folder.exists() or (folder.is_dir() and (resume or not any(folder.iterdir()))):
        return finished
    if not RuntimeConfig.is_rank_zero():  # the first process has begun to write there
        return False
    raise RunError(
        f"run folder {folder} is in the way",
        expected="a new or empty folder",
        got=_what_lies(folder),
        remedy="choose another --out, or delete it" + ("" if finished else "; --resume goes on with a training"),
    )


def _what_lies(folder: Path) -> str:
    """What is in the way, in words."""
    if _whole(folder):
        return "a finished run"
    if (folder / PLAN).exists():
        return "an unfinished training"
    return "a folder with files" if folder.is_dir() else "a file"


def as_asked(run: Run, config: Config) -> Run:
    """The finished run, if it was trained with these settings."""
    _require_equal(
        _values(run.config),
        _values(config),
        f"run {run.folder} is finished, with other settings",
        remedy="train into another folder",
    )
    return run


def _values(config: Config) -> dict[str, object]:
    """Every setting by name."""
    return {name: config.value(name) for name in setting_names()}


def _require_equal(expected: dict[str, object], got: dict[str, object], what: str, remedy: str) -> None:
    """Raise ``RunError`` that says ``what`` and names the values that differ, if any do."""
    differing = [name for name in expected if expected[name] != got[name]]
    if differing:
        raise RunError(
            what,
            expected=", ".join(f"{name} {expected[name]!r}" for name in differing),
            got=", ".join(f"{name} {got[name]!r}" for name in differing),
            remedy=remedy,
        )
