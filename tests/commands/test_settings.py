"""`clipada settings`: every setting with its default and meaning, from the dataclasses of `clipada.config`."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass

import pytest

from clipada import config
from clipada.commands.settings import settings
from clipada.config import PRESETS, Config, setting_names
from clipada.errors import ConfigError

Command = Callable[..., tuple[int, str, str]]


def test_every_setting_of_a_run_is_listed_with_its_default_and_a_meaning() -> None:
    of_a_run = settings()[: len(setting_names())]
    assert [setting.name for setting in of_a_run] == setting_names()
    assert Config().updated({one.name: one.default for one in of_a_run if one.default}) == Config()


def test_every_dataclass_of_settings_is_listed() -> None:
    listed = {part for setting in settings() for part in setting.name.split(".")}
    kinds = [getattr(config, name) for name in config.__all__]
    for kind in kinds:
        if is_dataclass(kind) and kind is not Config:
            missing = {field.name for field in fields(kind)} - listed
            assert not missing, f"{kind.__name__}: {missing} are in no section of commands/settings.py"


def test_every_setting_has_a_meaning() -> None:
    assert [setting.name for setting in settings() if not setting.meaning] == []


def test_a_preset_names_the_settings_that_it_changes() -> None:
    shown = {setting.name: setting.presets.get("quick") for setting in settings("quick") if "quick" in setting.presets}
    assert shown.keys() == PRESETS["quick"].keys()
    assert shown["memory.rows"] == "13000"


def test_a_word_selects_by_name_and_meaning() -> None:
    assert "training.epochs" in [setting.name for setting in settings("EPOCHS")]
    assert "serve.port" in [setting.name for setting in settings("the port")]
    with pytest.raises(ConfigError, match=r"did you mean epochs\?"):
        settings("epoks")


def test_a_line_each_for_other_programs(clipada: Command) -> None:
    code, out, _ = clipada("settings", "memory.rows")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("memory.rows\t")]
    _, default, kind, meaning = line.split("\t")
    assert (default, kind) == ("0", "int")
    assert meaning.startswith("Patches kept of each product")
    code, out, err = clipada("settings", "epoks")
    assert (code, out) == (2, "")
    assert "did you mean epochs?" in err
