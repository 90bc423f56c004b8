"""MVTec AD and VisA at their full size, as empty files with the official names: every image is found and matched."""

from collections import Counter
from pathlib import Path

import pytest

from clipada.commands.reproduce import plan_reproduction
from clipada.config import Config, Preset
from clipada.data import Dataset, load_dataset
from clipada.research.paper import coverage, paper_dataset

MVTEC = {
    "bottle": (209, 20, {"broken_large": 20, "broken_small": 22, "contamination": 21}),
    "cable": (
        224,
        58,
        {
            "bent_wire": 13,
            "cable_swap": 12,
            "combined": 11,
            "cut_inner_insulation": 14,
            "cut_outer_insulation": 10,
            "missing_cable": 12,
            "missing_wire": 10,
            "poke_insulation": 10,
        },
    ),
    "capsule": (219, 23, {"crack": 23, "faulty_imprint": 22, "poke": 21, "scratch": 23, "squeeze": 20}),
    "carpet": (280, 28, {"color": 19, "cut": 17, "hole": 17, "metal_contamination": 17, "thread": 19}),
    "grid": (264, 21, {"bent": 12, "broken": 12, "glue": 11, "metal_contamination": 11, "thread": 11}),
    "hazelnut": (391, 40, {"crack": 18, "cut": 17, "hole": 18, "print": 17}),
    "leather": (245, 32, {"color": 19, "cut": 19, "fold": 17, "glue": 19, "poke": 18}),
    "metal_nut": (220, 22, {"bent": 25, "color": 22, "flip": 23, "scratch": 23}),
    "pill": (
        267,
        26,
        {
            "color": 25,
            "combined": 17,
            "contamination": 21,
            "crack": 26,
            "faulty_imprint": 19,
            "pill_type": 9,
            "scratch": 24,
        },
    ),
    "screw": (
        320,
        41,
        {"manipulated_front": 24, "scratch_head": 24, "scratch_neck": 25, "thread_side": 23, "thread_top": 23},
    ),
    "tile": (230, 33, {"crack": 17, "glue_strip": 18, "gray_stroke": 16, "oil": 18, "rough": 15}),
    "toothbrush": (60, 12, {"defective": 30}),
    "transistor": (213, 60, {"bent_lead": 10, "cut_lead": 10, "damaged_case": 10, "misplaced": 10}),
    "wood": (247, 19, {"color": 8, "combined": 11, "hole": 10, "liquid": 10, "scratch": 21}),
    "zipper": (
        240,
        32,
        {
            "broken_teeth": 19,
            "combined": 16,
            "fabric_border": 17,
            "fabric_interior": 16,
            "rough": 17,
            "split_teeth": 18,
            "squeezed_teeth": 16,
        },
    ),
}
"""Training images, normal test images, and anomalous ones by kind of defect."""

VISA = {
    "candle": (900, 100),
    "capsules": (542, 60),
    "cashew": (450, 50),
    "chewinggum": (453, 50),
    "fryum": (450, 50),
    "macaroni1": (900, 100),
    "macaroni2": (900, 100),
    "pcb1": (904, 100),
    "pcb2": (901, 100),
    "pcb3": (905, 101),
    "pcb4": (904, 101),
    "pipe_fryum": (450, 50),
}
"""Normal images to train and to test on; each category has 100 anomalous ones."""


def touch(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    for category, (train, good, defects) in MVTEC.items():
        touch(tmp_path / category / "train" / "good", [f"{i:03}.png" for i in range(train)])
        touch(tmp_path / category / "test" / "good", [f"{i:03}.png" for i in range(good)])
        for defect, count in defects.items():
            touch(tmp_path / category / "test" / defect, [f"{i:03}.png" for i in range(count)])
            touch(tmp_path / category / "ground_truth" / defect, [f"{i:03}_mask.png" for i in range(count)])
        for name in ("license.txt", "readme.txt"):
            (tmp_path / category / name).touch()
    return tmp_path


@pytest.fixture
def visa(tmp_path: Path) -> Path:
    lines = ["object,split,label,image,mask"]
    for category, (train, test) in VISA.items():
        data = tmp_path / category / "Data"
        touch(data / "Images" / "Normal", [f"{i:04}.JPG" for i in range(train + test)])
        touch(data / "Images" / "Anomaly", [f"{i:03}.JPG" for i in range(100)])
        touch(data / "Masks" / "Anomaly", [f"{i:03}.png" for i in range(100)])
        (tmp_path / category / "image_anno.csv").touch()
        lines += [
            f"{category},{'train' if i < train else 'test'},normal,{category}/Data/Images/Normal/{i:04}.JPG,"
            for i in range(train + test)
        ]
        lines += [
            f"{category},test,anomaly,{category}/Data/Images/Anomaly/{i:03}.JPG,{category}/Data/Masks/Anomaly/{i:03}.png"
            for i in range(100)
        ]
    touch(tmp_path / "split_csv", [])
    (tmp_path / "split_csv" / "1cls.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def without_backbone(preset: Preset) -> Config:
    return Config.preset(preset).updated({"backbone.name": "/nowhere"})


def every_anomalous_image_has_its_mask(dataset: Dataset) -> bool:
    return all(
        sample.mask is not None and sample.mask.stem.removesuffix("_mask") == sample.path.stem
        for sample in dataset.samples
        if sample.anomalous
    )


def test_mvtec_ad(mvtec: Path) -> None:
    dataset = load_dataset(mvtec)
    assert dataset.layout == "mvtec"
    assert (len(dataset.train), len(dataset.test)) == (3629, 1725)
    found = Counter((sample.category, sample.split, sample.defect) for sample in dataset.samples)
    expected = {(name, "train", "good"): train for name, (train, _, _) in MVTEC.items()}
    expected |= {(name, "test", "good"): good for name, (_, good, _) in MVTEC.items()}
    expected |= {(name, "test", kind): n for name, (_, _, kinds) in MVTEC.items() for kind, n in kinds.items()}
    assert found == expected
    assert every_anomalous_image_has_its_mask(dataset)
    assert not dataset.notes
    assert coverage(dataset, paper_dataset("mvtec")).startswith("MVTec AD whole: 15 categories, 3,629 training")
    plan = plan_reproduction("mvtec", dataset, mvtec / "out", without_backbone("mvtec"), images_per_second=300)
    images = {run.run.label: run.images for run in plan.runs}
    assert images["r1-learned, seed 0"] == 800 * 227 * 16
    assert images["draem, seed 0"] == 700 * 454 * 8
    assert len(images) == 14 + 4
    hours = {run.run.label: run.hours for run in plan.runs}
    assert hours["r1-learned, seed 0"] == pytest.approx((800 * 227 * 16 / 300 + 1725 / 450) / 3600)
    assert plan.hours == pytest.approx(sum(hours.values()))


def test_visa(visa: Path) -> None:
    dataset = load_dataset(visa)
    assert dataset.layout == "visa"
    assert (len(dataset.train), len(dataset.test)) == (8659, 2162)
    found = Counter((sample.category, sample.split, sample.defect) for sample in dataset.samples)
    expected = {(name, "train", "good"): train for name, (train, _) in VISA.items()}
    expected |= {(name, "test", "good"): test for name, (_, test) in VISA.items()}
    expected |= {(name, "test", "bad"): 100 for name in VISA}
    assert found == expected
    assert sum(sample.anomalous for sample in dataset.test) == 1200
    assert every_anomalous_image_has_its_mask(dataset)
    assert coverage(dataset, paper_dataset("visa")).startswith("VisA whole: 12 categories, 8,659 training")
    plan = plan_reproduction("visa", dataset, visa / "out", without_backbone("visa"), images_per_second=300)
    assert [run.images for run in plan.runs][:2] == [500 * 136 * 64, 8659]
    assert len(plan.runs) == 1 + 4
    assert coverage(dataset.of("candle"), paper_dataset("visa")).startswith("not VisA as in the paper: 1 of its 12")
