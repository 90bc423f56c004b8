"""Plan of a guided start: how photos are shared out, which backbone and preset are trained, what can be guaranteed.

It is recorded in the run folder, so that a later call goes on with the same photos held out.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from clipada.calibration import PRODUCT, attainable_rate, group_of
from clipada.config import (
    CalibrationCheckConfig,
    CalibrationConfig,
    Config,
    Preset,
    StartConfig,
    cores,
)
from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.data import Dataset, load_dataset
from clipada.data.defects import NO_DEFECTS, Defects
from clipada.data.held_out import fresh_counts, hold_out
from clipada.devices import find_device
from clipada.errors import RunError
from clipada.files import write_json
from clipada.images import readable_sha256
from clipada.runs import is_finished
from clipada.runs.start_record import START_RECORD, StartRecord, find_start_record
from clipada.training.resume import known_defects
from clipada.types import Sample


@dataclass(frozen=True, kw_only=True)
class AskedStart:
    """Options of a start, ``None`` or default where not given; they are those of ``clipada.start``."""

    backbone: str | None = None
    preset: Preset | None = None
    defects: str | None = None
    rules: ImageRules = DEFAULT_RULES

    @property
    def given(self) -> dict[str, object]:
        """The options that were given, by the name of their field in ``StartRecord``."""
        rules, usual = asdict(self.rules), asdict(DEFAULT_RULES)
        named = {"backbone": self.backbone, "preset": self.preset, "defects": self.defects}
        return {name: value for name, value in named.items() if value is not None} | {
            name: value for name, value in rules.items() if value != usual[name]
        }


@dataclass(frozen=True, kw_only=True)
class StartPlan:
    """Plan of a start: decided and shown before anything is trained.

    Attributes:
        folder: The run folder.
        found: All photos.
        dataset: Those to train on and to test on.
        held_out: Photos of good parts that are not trained on.
        backbone: Hub name or folder of the backbone, or the embedded one's name.
        origin: Where the backbone comes from: ``"named"``, ``"cache"``, ``"hub"``, ``"embedded"``, or ``"recorded"`` by
            an earlier call.
        preset: The preset to train.
        seconds: Estimated time of a training with ``accurate`` on the CPU; ``None`` on another device, and after it.
        guarantee: The best guarantee that the held-out photos allow; ``None`` if they are too few for any.
        defects: Photos of known defects to learn from, which are not tested on.
        defects_folder: Their folder; ``None`` without any.
        rules: Rules by which the photos are read, as they were asked for.
    """

    folder: Path
    found: Dataset = field(repr=False)
    dataset: Dataset = field(repr=False)
    held_out: tuple[Path, ...] = field(repr=False)
    backbone: str
    origin: str
    preset: Preset
    seconds: float | None
    guarantee: CalibrationConfig | None
    defects: Defects = NO_DEFECTS
    defects_folder: Path | None = None
    rules: ImageRules = DEFAULT_RULES

    @property
    def trained(self) -> bool:
        """True if an earlier call has finished the training."""
        return is_finished(self.folder)

    @property
    def defective(self) -> int:
        """Number of photos of defects that are tested on."""
        return sum(sample.anomalous for sample in self.dataset.test) - self.learned

    @cached_property
    def learned(self) -> int:
        """Number of photos of defects in the test that the run learns from."""
        known = {*self.defects.sha256s}
        anomalous = [sample.path for sample in self.dataset.test if known and sample.anomalous]
        return sum(readable_sha256(path) in known for path in anomalous)

    def save(self) -> None:
        """Write the record of the plan into the run folder."""
        record = StartRecord(
            photos=str(self.found.root.resolve()),
            backbone=self.backbone,
            preset=self.preset,
            trained_on=tuple(_name(sample.path, self.found) for sample in self.dataset.train),
            held_out=tuple(_name(path, self.found) for path in self.held_out),
            tested_on=tuple(sorted(_tested(self.dataset))),
            defects="" if self.defects_folder is None else str(self.defects_folder),
            channels=self.rules.channels,
            depth=self.rules.depth,
            page=self.rules.page,
        )
        write_json(self.folder / START_RECORD, asdict(record))


def plan_start(
    photos: Path | str,
    out: Path | str | None,
    asked: AskedStart,
    device: str,
    settings: StartConfig,
) -> StartPlan:
    """Decide what a start does, and write nothing: the arguments are those of ``clipada.start``.

    Raises:
        DatasetError: There are no photos of good parts, or no photo of a known defect can be used.
        RunError: ``out`` holds something else, or a start of other photos or with other options.
        BackboneError: The backbone cannot be found.
        ConfigError: There is no such preset, or it has no memory and there are known defects.
    """
    preset, rules, place = asked.preset, asked.rules, asked.defects
    if preset is not None:
        Config.preset(preset)  # refuses an unknown one
    found = load_dataset(photos)
    found.require_training()
    folder = Path(out) if out is not None else Path("runs") / _default_name(found)
    record = find_start_record(folder)
    origin: str
    if record is None:
        from clipada.models.backbones import choose_backbone, read_configuration

        name, origin = choose_backbone(asked.backbone)
        read_configuration(name)
        dataset, held_out = _shared_out(found, settings)
    else:
        _require_same(folder, record, found, asked.given)
        name, origin, preset, rules = record.backbone, "recorded", record.preset, record.rules
        place = record.defects or None
        dataset, held_out = _as_recorded(found, record)
    seconds = None if is_finished(folder) else _estimate(dataset, name, device, settings)
    preset = preset or _preset(dataset, seconds, settings)
    known = NO_DEFECTS if place is None else known_defects(Path(place), dataset, Config.preset(preset))
    return StartPlan(
        folder=folder,
        found=found,
        dataset=dataset,
        held_out=tuple(sample.path for sample in held_out),
        backbone=name,
        origin=origin,
        preset=preset,
        seconds=seconds,
        guarantee=_guarantee(found, held_out, settings),
        defects=known,
        defects_folder=None if place is None else Path(place),
        rules=rules,
    )


def _require_same(folder: Path, record: StartRecord, found: Dataset, asked: dict[str, object]) -> None:
    """Raise ``RunError`` unless an earlier start was of the same photos, with the options that are given."""
    differing = [name for name, value in asked.items() if value != getattr(record, name)]
    if differing:
        raise RunError(
            f"{folder} was started with other options",
            expected=", ".join(f"--{name} {getattr(record, name) or 'left out'}" for name in differing),
            got=", ".join(f"--{name} {asked[name]}" for name in differing),
            remedy="leave them out to go on with it, or choose another --out",
        )
    now, root = {_name(sample.path, found) for sample in found.samples if not sample.anomalous}, found.root.resolve()
    known = {*record.good, *record.tested_on, *_tested(found), *(_name(one.path, found) for one in found.validation)}
    if record.photos == str(root) and record.good <= now <= known:
        return
    added, gone = len(now - known), len(record.good - now)
    raise RunError(
        f"{folder} was started with other photos",
        expected=f"{len(record.good)} photos of good parts in {record.photos}",
        got=f"{added} new ones, {gone} gone" if record.photos == str(root) else str(root),
        remedy="choose another --out",
    )


def _as_recorded(found: Dataset, record: StartRecord) -> tuple[Dataset, tuple[Sample, ...]]:
    """Share the photos out as an earlier call did, also if photos of defects were added since then."""
    named = {_name(sample.path, found): sample for sample in found.samples}
    used = {named[name]: replace(named[name], split="train") for name in record.trained_on}
    used |= {named[name]: replace(named[name], split="test") for name in record.tested_on if name in named}
    held_out = tuple(named[name] for name in record.held_out)
    kept = tuple(used.get(sample, sample) for sample in found.samples if sample not in set(held_out))
    return replace(found, samples=kept), held_out


def _shared_out(found: Dataset, settings: StartConfig) -> tuple[Dataset, tuple[Sample, ...]]:
    """Hold out the photos that a layout sets apart for thresholds; if there are too few, a share of the others too."""
    apart = found.validation
    rest = replace(found, samples=tuple(sample for sample in found.samples if sample.split != "validation"))
    counts = {name: sum(sample.category == name for sample in apart) for name in found.categories}
    if apart and _rate(counts, settings) is not None:
        return rest, apart
    dataset, chosen = hold_out(rest, _held_out_counts(rest, settings))
    return dataset, (*apart, *chosen)


def _held_out_counts(found: Dataset, settings: StartConfig) -> dict[str, int]:
    """Return how many photos of each product are held out: none if they would allow no guarantee."""
    counts = fresh_counts(found, settings.held_out, settings.most_held_out)
    return counts if _rate(counts, settings) is not None else {}


def _rate(counts: dict[str, int], settings: StartConfig) -> float | None:
    """Return the best false-alarm rate that each product's photos guarantee, else that of all of them together."""
    spared = CalibrationCheckConfig.unlike_share  # so many may be left out as unlike the training photos
    usable = [count - int(spared * count) for count in counts.values()]
    rates = (attainable_rate(count, settings.rates, CalibrationConfig()) for count in (min(usable), sum(usable)))
    return next((rate for rate in rates if rate is not None), None)


def _guarantee(found: Dataset, held_out: tuple[Sample, ...], settings: StartConfig) -> CalibrationConfig | None:
    """Return the guarantee that held-out photos allow, with thresholds for each of several products."""
    names = list(dict.fromkeys(sample.category for sample in held_out))
    counts = {name: sum(sample.category == name for sample in held_out) for name in names}
    rate = _rate(counts, settings) if counts else None
    if rate is None:
        return None
    usual = all(group_of(sample.path, PRODUCT) == sample.category for sample in found.samples)
    per = None if len(names) == 1 else PRODUCT if usual else f".*/({'|'.join(map(re.escape, names))})/"
    return CalibrationConfig(false_alarm_rate=rate, per=per)


def _estimate(dataset: Dataset, backbone: str, device: str, settings: StartConfig) -> float | None:
    """Estimate the seconds of a training with ``accurate`` on the CPU; ``None`` on another device."""
    if find_device(device).type != "cpu":
        return None
    from clipada.models.backbones import forward_cost

    config = Config.preset("accurate")
    images = len(dataset.train) + config.filter.images * len(dataset.categories)
    return settings.core_seconds * images * forward_cost(backbone, config.model) / 1e9 / cores()


def _preset(dataset: Dataset, seconds: float | None, settings: StartConfig) -> Preset:
    """Return ``accurate`` if each product has enough photos and the training is not too long, else ``quick``."""
    fewest = min(len(dataset.of(category).train) for category in dataset.categories)
    slow = seconds is not None and seconds > 60 * settings.minutes
    return "quick" if fewest < settings.few or slow else "accurate"


def _default_name(found: Dataset) -> str:
    """Return the name of the only product, or of the folder of several."""
    return found.categories[0] if len(found.categories) == 1 else found.root.resolve().name


def _tested(found: Dataset) -> set[str]:
    """Return the names of good photos in the test split."""
    return {_name(sample.path, found) for sample in found.test if not sample.anomalous}


def _name(path: Path, found: Dataset) -> str:
    return path.relative_to(found.root).as_posix()
