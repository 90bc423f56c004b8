"""Composition of a revision's memory: that of the training without some products, and with parts that were added.

It follows from the files alone, so that the same parts always give the same memory, in whatever order others came and
went.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipada.calibration.input_check import ProductInputs
from clipada.config import InputCheckConfig
from clipada.files import sha256_of, write_text
from clipada.models.growth import Rows, Statistics, joined, pooled
from clipada.models.memory_head import SCALE_NAMES, WHOLE_PREFIX
from clipada.randomness import derived_generator
from clipada.runs.additions import Addition, read_addition, read_additions, write_addition
from clipada.runs.contents import ADDED, INPUT_CHECK, MEMORY, TRAINED_ON
from clipada.runs.description import COPY_AGAIN, Run
from clipada.runs.inputs import find_input_check, write_input_check
from clipada.runs.memory import read_memory, write_memory
from clipada.runs.records import read_hashes
from clipada.runs.revising import next_revision, put_in_force, writing_revision
from clipada.runs.revisions import AddedPart, Revision, Trained
from clipada.runs.training import Change
from clipada.runs.verification import require_sealed

MOST_TIMES = 2
"""Most rows of a product with its conditions, in times of those of a training: of more, some that cover them all are
chosen, so that the search in a memory that grows again and again stays fast."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedMemory:
    """The memory of a training, as its files hold it.

    Attributes:
        products: Names of its products.
        tensors: As ``MemoryHead.memory_tensors`` names them.
        inputs: Its images, as the input check knows them, by product; empty without a check.
        sha256s: Hashes of its images; ``None`` if they are not recorded.
        records: Its records.
    """

    products: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    inputs: Mapping[str, ProductInputs]
    sha256s: frozenset[str] | None
    records: Trained

    @classmethod
    def of(cls, run: Run) -> TrainedMemory:
        """Read the memory of a run's training, whatever revision is in force.

        Raises:
            RunError: A file is damaged, or is not the one that the run was sealed with.
        """
        require_sealed(run, MEMORY, INPUT_CHECK, TRAINED_ON)
        products, tensors = read_memory(run.folder / MEMORY)
        check, hashes = find_input_check(run.folder, InputCheckConfig()), run.folder / TRAINED_ON
        return cls(
            products=tuple(products),
            tensors=tensors,
            inputs={} if check is None else {name: one.inputs for name, one in check.products.items()},
            sha256s=read_hashes(hashes, COPY_AGAIN) if hashes.exists() else None,
            records=trained_records(run),
        )


def trained_records(run: Run) -> Trained:
    """Return the records of a run's training, before any revision."""
    if run.revision is not None:
        return run.revision.trained
    training = run.training
    names = ("categories", "normal_levels", "coverage", "copies")
    return Trained(**{name: getattr(training, name) for name in names})


class Composition:
    """The memory of a revision.

    Args:
        run: The run, for its settings.
        trained: The memory of its training.
        additions: Parts that were added, in this order.
        removed: Products of the training that are left out.
    """

    def __init__(
        self, run: Run, trained: TrainedMemory, additions: Sequence[Addition], removed: Collection[str] = ()
    ) -> None:
        self.run = run
        self.trained = trained
        self.additions = additions
        self.kept = [name for name in trained.products if name not in removed]
        self.products = [*self.kept, *(one.described.product for one in additions if not one.described.condition)]

    def of(self, product: str) -> list[Addition]:
        """Return what was added of a product, which for a new product begins with itself."""
        return [one for one in self.additions if one.described.product == product]

    def write(self, folder: Path) -> str:
        """Write the files of the revision into a folder; return the hash of the memory's file."""
        write_memory(folder / MEMORY, self.tensors, self.products, self.run.backbone_sha256)
        if self.inputs:
            write_input_check(folder, self.inputs)
        if self.trained.sha256s is not None:
            hashes = self.trained.sha256s.union(*(one.described.sha256s for one in self.additions))
            write_text(folder / TRAINED_ON, "".join(f"{one}\n" for one in sorted(hashes)))
        return sha256_of(folder / MEMORY)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the memory, as ``MemoryHead.memory_tensors`` names them."""
        views = ("", WHOLE_PREFIX)[: 1 + self.run.config.memory.whole]
        scale = {name: self.trained.tensors[name] for name in SCALE_NAMES}
        return {
            **{name: value for prefix in views for name, value in self._view(prefix).items()},
            "centers": torch.stack([self._center(name) for name in self.products]),
            "boxes": torch.stack([self._own("boxes", name, self.of(name)) for name in self.products]),
            **scale,
        }

    def _view(self, prefix: str) -> dict[str, Tensor]:
        """Return rows and statistics of a view; a product with fewer rows than another repeats them."""
        parts, found = self.run.config.memory.neighbors, [self._rows(name, prefix) for name in self.products]
        most = max(self.trained.tensors[f"{prefix}rows"].shape[2], *(rows.length for rows, _ in found))
        equal = [rows.repeated(most, parts) for rows, _ in found]
        return {
            f"{prefix}rows": torch.stack([one.rows for one in equal], dim=1),
            f"{prefix}usual": torch.stack([one.usual for one in equal], dim=1),
            f"{prefix}distance_mean": torch.stack([one.mean for _, one in found], dim=1),
            f"{prefix}distance_std": torch.stack([one.std for _, one in found], dim=1),
        }

    def _rows(self, product: str, prefix: str) -> tuple[Rows, Statistics]:
        """Return the rows of a product in a view, with those of its conditions, and their statistics together."""
        groups = [one.views[prefix] for one in self.of(product)]
        settings = self.run.config.memory
        if product in self.kept:
            place, tensors = self.trained.products.index(product), self.trained.tensors
            names = ("rows", "usual", "distance_mean", "distance_std")
            rows, usual, mean, std = (tensors[f"{prefix}{name}"][:, place] for name in names)
            images = self.trained.records.categories[product]
            own = Rows(rows, usual)
            groups = [(own.distinct(settings.neighbors) if groups else own, Statistics(images, mean, std)), *groups]
        if len(groups) == 1:
            return groups[0]
        rows_found = joined([rows for rows, _ in groups], settings.neighbors)
        blocks, _, width = rows_found.rows.shape
        most = -(-MOST_TIMES * settings.most_rows(width, blocks) // settings.neighbors) * settings.neighbors
        if rows_found.length > most:
            generator = derived_generator(self.run.config.training.seed, "thinned rows", product, prefix)
            rows_found = rows_found.thinned(most, settings.selection, generator)
        return rows_found, pooled([statistics for _, statistics in groups])

    def _own(self, name: str, product: str, added: Sequence[Addition]) -> Tensor:
        """Return a product's row of a tensor of the training, or what the addition of a new product has instead."""
        if product in self.kept:
            return self.trained.tensors[name][self.trained.products.index(product)]
        return added[0].box

    def _center(self, product: str) -> Tensor:
        """Return the mean descriptor of a product's images; that of the training where nothing was added."""
        own = self.trained.tensors["centers"][self.trained.products.index(product)] if product in self.kept else None
        descriptors = self.inputs[product].descriptors if product in self.inputs else None
        if own is not None and (descriptors is None or not self.of(product)):
            return own
        return F.normalize(torch.from_numpy(descriptors).mean(dim=0), dim=-1).half()

    @cached_property
    def inputs(self) -> dict[str, ProductInputs]:
        """The images of each product as the input check knows them; empty if the training has none."""
        known = self.trained.inputs
        blank = next((one.blank for one in known.values()), None)
        found = {}
        for product in self.products if known else ():
            own = [known[product]] if product in self.kept else []
            own += [
                ProductInputs(statistics=one.statistics, descriptors=one.descriptors, blank=blank)
                for one in self.of(product)
            ]
            found[product] = own[0] if len(own) == 1 else _together(own)
        return found

    @property
    def records(self) -> Trained:
        """Records of the products."""
        categories, levels, coverage, copies = {}, {}, {}, {}
        for name in self.products:
            added, before = self.of(name), self.trained.records
            described = [one.described for one in added]
            known = {name} & {*self.kept}
            categories[name] = sum(before.categories[one] for one in known) + sum(one.images for one in added)
            levels[name] = max([before.normal_levels.get(one, 0.0) for one in known] + [one.level for one in described])
            coverage[name] = min([before.coverage.get(one, 1.0) for one in known] + [one.coverage for one in described])
            copies[name] = before.copies.get(name, "none") if known else described[0].copies
        return Trained(categories=categories, normal_levels=levels, coverage=coverage, copies=copies)

    def mistaken(self) -> dict[str, int]:
        """Count the known images of each product that has some nearer to the center of another product."""
        centers = F.normalize(self.tensors["centers"].float(), dim=-1)
        counts = {}
        for number, (name, known) in enumerate(self.inputs.items()):
            if known.descriptors is not None:
                found = (torch.from_numpy(known.descriptors) @ centers.T).argmax(dim=1)
                counts[name] = int((found != number).sum())
        return {name: count for name, count in counts.items() if count}


def revise(
    run: Run, kept: Sequence[AddedPart], new: Sequence[Addition], removed: Collection[str], changes: Sequence[Change]
) -> tuple[Run, Composition]:
    """Write the next revision of a run, and put it in force.

    Args:
        run: The run.
        kept: Parts that were added before and stay.
        new: Parts that are added.
        removed: Products of the training that are left out.
        changes: What the revision changes.

    Returns:
        The run with the revision in force, and its memory.
    """
    number, parts = next_revision(run), list(kept)
    with writing_revision(run) as folder:
        additions = read_additions(run, kept)
        for place, addition in enumerate(new):
            path = folder / ADDED.format(place)
            write_addition(path, addition)
            additions.append(read_addition(path))  # as every later revision reads it
            described = addition.described
            parts.append(
                AddedPart(
                    product=described.product,
                    condition=described.condition,
                    images=addition.images,
                    revision=number,
                    file=path.name,
                )
            )
        composition = Composition(run, TrainedMemory.of(run), additions, removed)
        sha256 = composition.write(folder)
    revision = Revision(number=number, trained=trained_records(run), parts=tuple(parts), removed=tuple(removed))
    values = {"memory_sha256": sha256, "revision": asdict(revision)}
    records = {**asdict(composition.records), "changes": [asdict(one) for one in (*run.training.changes, *changes)]}
    return put_in_force(run, values, records), composition


def _together(inputs: Sequence[ProductInputs]) -> ProductInputs:
    """Join what the input check knows of several groups of images of a product."""
    descriptors = [one.descriptors for one in inputs if one.descriptors is not None]
    whole = len(descriptors) == len(inputs)
    return ProductInputs(
        statistics=np.concatenate([one.statistics for one in inputs]),
        descriptors=np.concatenate(descriptors) if whole else None,
        blank=inputs[0].blank if whole else None,
    )
