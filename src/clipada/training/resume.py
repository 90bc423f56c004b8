"""Start or resume of a training: what it trains, decided in one place, and recorded so that a kill loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict, cast

from clipada.config import DEFAULT_PRESET, Config, RuntimeConfig, setting_names
from clipada.config.schema import build_known
from clipada.data import Dataset, Layout, load_dataset
from clipada.data.defects import Defects, load_defects
from clipada.errors import ConfigError, DatasetError, RunError
from clipada.files import LOCK, read_json, write_json
from clipada.images.roi import RegionsOfInterest
from clipada.runs import ADAPTER, CONFIG, PLAN, Run, is_finished, read_run
from clipada.runs.records import completed_settings, damaged
from clipada.runs.roi import write_roi
from clipada.training.open_settings import with_absolute_folders, with_recorded
from clipada.training.regions import chosen_regions, described_regions

Configure = Callable[[Config | None], Config]
"""Makes the settings of a training from those recorded in its run folder, ``None`` for a new one."""

_REMEDY = "delete it and resume with all the options the training started with, or train into another folder"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings and data of a training, kept in its run folder until it is finished.

    Attributes:
        config: All settings.
        data: Absolute path of the data set.
        layout: The layout it was read as.
        categories: The categories it trains on.
        defects: Absolute path of the folder of known defects, if there is one.
        photos: Hash of the hashes of their photos; empty without any.
    """

    config: Config
    data: Path
    layout: Layout
    categories: tuple[str, ...]
    defects: Path | None = None
    photos: str = ""

    def save(self, folder: Path) -> None:
        """Write the plan into a run folder."""
        content = {"data": str(self.data), "layout": self.layout, "categories": list(self.categories)}
        if self.defects is not None:
            content |= {"defects": str(self.defects), "photos": self.photos}
        write_json(folder / PLAN, {**content, "config": self.config.to_dict()})

    def require(self, asked: Plan) -> None:
        """Raise ``RunError`` unless ``asked`` trains the same adapter.

        The data and the backbone may have moved, and the interval between checkpoints may differ.
        """
        _require_equal(
            self._fingerprint_settings(),
            asked._fingerprint_settings(),
            "the options contradict those the training started with",
            remedy="leave them out: --resume continues with what was recorded; or train into another folder",
        )

    def _fingerprint_settings(self) -> dict[str, object]:
        """Return what decides the adapter, by name."""
        data = {"layout": self.layout, "categories": self.categories, "known defects": self.photos}
        return {**self.config.fingerprint_settings(), **data}


class GivenKeywords(TypedDict, total=False):
    """Things a training may be given beside images of good parts; see ``prepare_training``."""

    defects: Path | str | None
    roi: Path | str | None


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """A training about to start or to continue.

    Attributes:
        folder: The run folder.
        config: All settings.
        dataset: The images.
        defects: Photos of known defects to learn from.
        defects_folder: Their folder; ``None`` without any.
        started: True if an unfinished training is recorded in ``folder``.
        regions: The products' regions of interest; ``None`` if all of every image counts.
    """

    folder: Path
    config: Config
    dataset: Dataset
    defects: Defects = field(default_factory=Defects)
    defects_folder: Path | None = None
    started: bool = False
    regions: RegionsOfInterest | None = None

    @property
    def plan(self) -> Plan:
        """The record to keep until the training is finished."""
        return Plan(
            config=self.config,
            data=self.dataset.root.resolve(),
            layout=self.dataset.layout,
            categories=self.dataset.categories,
            defects=self.defects_folder,
            photos=self.defects.fingerprint,
        )

    def save(self, folder: Path) -> None:
        """Write what a resume needs into a run folder: regions of interest, and last the plan."""
        if self.regions is not None:
            write_roi(folder, self.regions)
        self.plan.save(folder)

    def describe(self) -> list[str]:
        """Describe the images in lines of text."""
        return [*self.dataset.describe(), *self.defects.describe(), *described_regions(self.regions)]


def prepare_training(
    data: Path | str | Dataset | None,
    out: Path | str,
    config: Config | Configure | None = None,
    *,
    resume: bool = False,
    layout: str = "auto",
    categories: Sequence[str] | None = None,
    defects: Path | str | None = None,
    roi: Path | str | None = None,
) -> TrainingJob | Run:
    """Decide what a training trains: a new one, or the rest of the one that a run folder records.

    Args:
        data: A data set or its folder; ``None`` for that of the resumed training.
        out: The run folder; must be new or empty unless ``resume``.
        config: All settings, or a function that makes them from the recorded ones; by default the recorded ones, or
            those of the preset ``DEFAULT_PRESET``.
        resume: Continue the unfinished training in ``out``; a finished one is returned as it is.
        layout: The layout to read ``data`` as; the recorded one for ``"auto"`` if a training is resumed.
        categories: The categories to train on; the recorded ones, or all.
        defects: A folder with photos of known defects to learn from; the recorded one if a training is resumed.
        roi: File or folder with regions of interest; the recorded ones if a training is resumed.

    Returns:
        What is to be trained; with ``resume`` the finished run, if ``out`` holds one.

    Raises:
        DatasetError: There are no images, no photo of a known defect can be used, or no region of interest.
        ConfigError: There are known defects, and no memory that they could add to.
        RunError: ``out`` is in the way, what it recorded is damaged, or ``config`` or ``data`` contradict it.
    """
    folder = Path(out)
    finished = _finished(folder, resume)
    plan = read_plan(folder) if resume and finished is None else None
    recorded = finished.config if finished else plan.config if plan else None
    settings = with_recorded(with_absolute_folders(_configured(config, recorded)), recorded)
    if finished is not None:
        _require_equal(
            _values(finished.config),
            _values(settings),
            f"run {folder} is finished, with other settings",
            remedy="train into another folder",
        )
        return finished
    dataset = _dataset(data, plan, folder if resume else None, layout, categories)
    place = defects or (plan.defects if plan else None)
    regions = chosen_regions(roi, settings, dataset, folder if plan else None)
    job = TrainingJob(folder=folder, config=settings, dataset=dataset, started=plan is not None, regions=regions)
    if place is not None:
        known = known_defects(Path(place), dataset, settings)
        job = replace(job, defects=known, defects_folder=Path(place).resolve())
    if plan is not None:
        plan.require(job.plan)
    return job


def read_plan(folder: Path) -> Plan | None:
    """Read the plan in a run folder; ``None`` if no training was started or it is finished.

    Raises:
        RunError: The file is damaged.
    """
    path = folder / PLAN
    if not path.is_file():
        return None
    content = read_json(path, _REMEDY)
    try:
        plan: Plan = build_known(Plan, content, "")
    except ConfigError as error:
        raise damaged(path, error, _REMEDY) from error
    return replace(plan, config=completed_settings(plan.config))


def _configured(config: Config | Configure | None, recorded: Config | None) -> Config:
    """Return the settings asked for."""
    if config is None:
        return recorded or Config.preset(DEFAULT_PRESET)
    return config if isinstance(config, Config) else config(recorded)


def _dataset(
    data: Path | str | Dataset | None,
    plan: Plan | None,
    resumed: Path | None,
    layout: str,
    categories: Sequence[str] | None,
) -> Dataset:
    """Return the data set to train on, read as recorded where its folder alone, or nothing, is given."""
    if isinstance(data, Dataset):
        return data
    if plan is not None:
        layout = plan.layout if layout == "auto" else layout
        return load_dataset(Path(data or plan.data), cast("Layout", layout), categories or plan.categories)
    if data is not None:
        return load_dataset(Path(data), cast("Layout", layout), categories)
    if resumed is not None:
        raise RunError(
            f"no training to resume in {resumed}",
            expected=f"a folder with {PLAN}, of an unfinished training, or a finished run",
            got=_content(resumed) if resumed.exists() else "no such folder",
            remedy="correct --out, or name DATA to start one there",
        )
    raise DatasetError("no data to train on", expected="DATA, a folder", remedy="only --resume works without it")


def known_defects(folder: Path, dataset: Dataset, config: Config) -> Defects:
    """List the photos of known defects that a training is given.

    Raises:
        ConfigError: There is no memory that they could add to.
        DatasetError: No photo can be used, one is of no known product, or one is a training image.
    """
    if not config.memory.rows:
        raise ConfigError(
            "a model without a memory of good parts cannot learn from known defects",
            got="memory.rows 0",
            remedy="train with --preset quick or accurate, or leave --defects out",
        )
    return load_defects(folder, dataset)


def _finished(folder: Path, resume: bool) -> Run | None:
    """Return the finished run in a folder, if it may be returned; raise ``RunError`` if the folder is in the way."""
    whole = _is_whole(folder)
    if not folder.exists() or (folder.is_dir() and (resume or not _used(folder))):
        return read_run(folder, finished=False) if whole else None
    if not RuntimeConfig.is_rank_zero():  # rank zero has already started to write there
        return None
    raise RunError(
        f"run folder {folder} is in the way",
        expected="a new or empty folder",
        got=_content(folder),
        remedy="choose another --out, or delete it" + ("" if whole else "; --resume continues a training"),
    )


def _used(folder: Path) -> bool:
    """Return True if a folder holds more than the lock of a training that was killed before it wrote anything."""
    return any(path.name != LOCK for path in folder.iterdir())


def _is_whole(folder: Path) -> bool:
    """Return True if a folder holds a trained model: of its files, ``config.json`` is written last."""
    return (folder / CONFIG).exists() and (folder / ADAPTER).exists()


def _content(folder: Path) -> str:
    """Name what is in a folder, for an error."""
    if is_finished(folder):
        return "a finished run"
    if (folder / PLAN).exists():
        return "an unfinished training"
    return "a folder with files" if folder.is_dir() else "a file"


def _values(config: Config) -> dict[str, object]:
    """Return every setting by name."""
    return {name: config.value(name) for name in setting_names()}


def _require_equal(expected: dict[str, object], got: dict[str, object], what: str, remedy: str) -> None:
    """Raise a ``RunError`` that names the values that differ, if any do."""
    differing = [name for name in expected if expected[name] != got[name]]
    if differing:
        raise RunError(
            what,
            expected=", ".join(f"{name} {expected[name]!r}" for name in differing),
            got=", ".join(f"{name} {got[name]!r}" for name in differing),
            remedy=remedy,
        )
