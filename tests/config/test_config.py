"""Settings survive JSON, refuse what they cannot mean, and read from a command line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipada.config import BackboneConfig, Config, MemoryConfig, RuntimeConfig, setting_names
from clipada.errors import ConfigError


@pytest.mark.parametrize("preset", ["quick", "demo", "mvtec", "visa"])
def test_presets_survive_json(preset: str) -> None:
    config = Config.preset(preset)  # type: ignore[arg-type]
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_paper_presets() -> None:
    mvtec, visa = Config.preset("mvtec").training, Config.preset("visa").training
    assert (mvtec.epochs, mvtec.batch_size, mvtec.milestones, mvtec.decay) == (800, 16, (400, 700), 0.2)
    assert (visa.epochs, visa.batch_size, visa.milestones, visa.decay) == (500, 64, (250,), 0.2)
    for config in (Config.preset("mvtec"), Config.preset("visa")):
        assert (config.model.attention, config.model.attention_space, config.model.refinements) == (
            "product",
            "normalised",
            1,
        )


@given(st.integers(1, 2000))
def test_milestones_keep_their_share(epochs: int) -> None:
    lasting = Config.preset("mvtec").training.lasting(epochs)
    assert lasting.epochs == epochs
    assert all(1 <= milestone <= epochs for milestone in lasting.milestones)
    if epochs > 16:
        assert lasting.milestones == (round(epochs / 2), round(epochs * 7 / 8))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("model.attention", "residual", "residual"),
        ("model.refinements", "2", 2),
        ("prompt.learnable", "false", False),
        ("training.milestones", "3,5", (3, 5)),
        ("training.milestones", "", ()),
        ("training.learning_rate", "1e-4", 1e-4),
        ("synthesis.textures", "none", None),
        ("synthesis.textures", "folder", "folder"),
    ],
)
def test_settings_read_from_text(name: str, text: str, value: object) -> None:
    section, setting = name.split(".")
    assert getattr(getattr(Config().updated({name: text}), section), setting) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model.refinements", "-1"),
        ("model.refinements", "one"),
        ("model.attention", "sum"),
        ("prompt.learnable", "maybe"),
        ("training.milestones", "5,3"),
        ("training.epochs", "0"),
        ("training.epochs", "699"),
        ("training.milestones", "400,801"),
        ("synthesis.blend_limit", "1"),
        ("training.validation_fraction", "1"),
        ("scoring.sigma", "-1"),
    ],
)
def test_contradictions_name_the_setting(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Config().updated({name: text})


def test_epochs_and_milestones_are_checked_together() -> None:
    training = Config().updated({"training.epochs": "3", "training.milestones": "2"}).training
    assert (training.epochs, training.milestones) == (3, (2,))
    with pytest.raises(ConfigError, match=r"milestones up to 3.*\n.*\n.*--epochs"):
        Config().updated({"training.epochs": 3})


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("refinements", "did you mean model.refinements?"),
        ("nothing.refinements", "did you mean model.refinements?"),
        ("batch_size", "did you mean training.batch_size or filter.batch_size?"),
        ("zzzz", "find it with `clipada settings zzzz`"),
        ("", "find it with `clipada settings WORD`"),
    ],
)
def test_unknown_settings_name_the_near_ones(name: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config().updated({name: "1"})
    assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    "values",
    [
        {"modle": {}},
        {"model": {"refinement": 1}},
        {"model": {"refinements": "1"}},
        {"model": {"refinements": True}},
        {"model": 3},
    ],
)
def test_strange_files_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Config.from_dict(values)


def test_every_setting_is_documented() -> None:
    import ast
    import inspect

    from clipada.config import calibration, method, runtime

    modules = (calibration, method, runtime)
    nodes = [node for module in modules for node in ast.parse(inspect.getsource(module)).body]
    for node in (n for n in nodes if isinstance(n, ast.ClassDef) and n.name.endswith("Config")):
        for field, following in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and node.name != "Config":
                assert isinstance(following, ast.Expr), f"{node.name}.{ast.unparse(field.target)} has no note"
    assert len(setting_names()) == len(set(setting_names())) > 30


def test_only_a_process_among_others_can_be_another_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert RuntimeConfig.is_rank_zero()
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert RuntimeConfig.is_rank_zero()
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not RuntimeConfig.is_rank_zero()


def test_worker_count_leaves_no_device_without() -> None:
    assert RuntimeConfig(devices=64).worker_count == 1
    assert RuntimeConfig(workers=0).worker_count == 0


def test_prototypes_come_first_only_where_the_image_encoder_stays() -> None:
    with pytest.raises(ConfigError, match="prototypes_first"):
        Config().updated({"model.prototypes_first": True, "training.tune": "image"})
    assert Config().updated({"model.prototypes_first": True, "training.tune": "text"}).model.prototypes_first


def test_blocks_left_out_stay_open() -> None:
    assert BackboneConfig(name="nano").read_blocks == ()
    assert BackboneConfig(name="nano", blocks=(2,)).read_blocks == (2,)


def test_an_index_needs_a_recall_that_was_measured() -> None:
    auto = MemoryConfig()
    assert not auto.indexed({})  # also runs of earlier versions
    assert auto.indexed({"bolt": 0.99, "nut": 0.985})
    assert not auto.indexed({"bolt": 0.99, "nut": 0.97})
    assert not MemoryConfig(search="exact").indexed({"bolt": 0.99})
    assert MemoryConfig(search="indexed").indexed({})
    assert [auto.measures_recall(rows) for rows in (1000, 13_000)] == [False, True]
