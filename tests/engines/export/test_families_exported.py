"""All families are exported for both runtimes, in float32 and int8, and pass the parity gate."""

from pathlib import Path

import pytest

from backbone_families import FAMILIES, make_backbone
from clipada.commands.export import export
from clipada.commands.train import train
from clipada.config import Config, RuntimeConfig
from tiny import write_products

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", ["clip", *FAMILIES])
def test_exports_of_a_family_pass_the_gate(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory, whose search int8 must leave alone, over two blocks of each family."""
    monkeypatch.setenv("CLIPADA_CACHE", str(tmp_path / "cache"))
    data, backbone = write_products(tmp_path / "products"), make_backbone(tmp_path / "backbone", family)
    settings = Config.preset("quick").updated(
        {
            "backbone.name": str(backbone),
            "backbone.blocks": (1, 2),
            "prompt.prefix": "a photo of a",
            "model.image_size": 64,
            "memory.rows": 96,
        }
    )
    run = train(data, tmp_path / "run", settings, runtime=RuntimeConfig(device="cpu", workers=0))
    for runtime in ("onnx", "openvino"):
        for precision in ("fp32", "int8"):
            _, parity = export(run.folder, runtime, precision, data)  # type: ignore[arg-type]
            assert not parity.failures
