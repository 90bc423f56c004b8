"""The frozen CLIP: what is loaded, sizes it takes, its hash; its loading errors say how to get a checkpoint."""

import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPModel

from clipada.config import BackboneConfig
from clipada.errors import BackboneError, ConfigError
from clipada.models.backbones import FrozenClip, load_clip
from tiny import make_clip


def test_blocks_above_are_not_loaded(clip: FrozenClip) -> None:
    assert len(clip.vision.encoder.layers) == 2


def test_sizes_the_patch_does_not_divide_are_resized_to_the_nearest_grid(clip: FrozenClip) -> None:
    assert clip.grid((43, 45)) == (5, 6)
    inputs = torch.randn(1, 3, 43, 45, generator=torch.Generator().manual_seed(2))
    whole = F.interpolate(inputs, size=(40, 48), mode="bilinear", antialias=True)
    torch.testing.assert_close(clip(inputs), clip(whole))


def test_normalization_is_the_checkpoints_own(clip: FrozenClip) -> None:
    gray = clip.normalize(torch.full((1, 3, 2, 2), 0.5))
    torch.testing.assert_close(gray[0, :, 0, 0], torch.tensor([0.5, 0.0, -0.25]))


def test_training_mode_never_reaches_the_towers(clip: FrozenClip) -> None:
    clip.train()
    assert not any(module.training for module in clip.modules())
    assert not any(parameter.requires_grad for parameter in clip.parameters())


def test_plain_attention_computes_the_same_and_ends_with_its_block(clip: FrozenClip) -> None:
    images = torch.rand(2, 3, 64, 64)
    fused = clip(images)
    with clip.plain_attention():
        plain = clip(images)
        assert clip.vision.config._attn_implementation == "eager"
    assert clip.vision.config._attn_implementation == "sdpa"
    torch.testing.assert_close(plain, fused, atol=1e-5, rtol=1e-4)


def test_hash_depends_on_weights_alone(clip_folder: Path, clip: FrozenClip, tmp_path: Path) -> None:
    CLIPModel.from_pretrained(clip_folder).save_pretrained(tmp_path / "copy", max_shard_size="20KB")
    clip.tokenizer.save_pretrained(tmp_path / "copy")
    shutil.copy(clip_folder / "preprocessor_config.json", tmp_path / "copy")
    copy = load_clip(BackboneConfig(name=str(tmp_path / "copy"), blocks=(2,)))
    assert copy.sha256() == clip.sha256()
    (tmp_path / "copy" / "preprocessor_config.json").write_text('{"image_mean": [0.4, 0.5, 0.7]}')
    assert load_clip(BackboneConfig(name=str(tmp_path / "copy"), blocks=(2,))).sha256() != clip.sha256()
    with torch.no_grad():
        copy.vision.encoder.layers[0].mlp.fc1.weight[0, 0] += 1e-3
    assert copy.sha256() != clip.sha256()


@pytest.mark.parametrize(
    ("patch", "image"),
    [pytest.param(16, 224, id="B/16"), pytest.param(32, 224, id="B/32"), pytest.param(14, 224, id="L/14")],
)
def test_every_patch_size_takes_the_default_input(tmp_path: Path, patch: int, image: int) -> None:
    folder = make_clip(tmp_path / "clip", patch=patch)
    clip = load_clip(BackboneConfig(name=str(folder), blocks=(3,)))
    side = round(256 / patch)
    assert clip(torch.zeros(1, 3, 256, 256)).shape == (1, side * side, 32)
    assert clip.grid((image, image)) == (image // patch, image // patch)


def test_real_checkpoint_loads_by_the_same_path(shared: Path) -> None:
    clip = load_clip(BackboneConfig(name=str(shared / "weights" / "deit-tiny-clip"), blocks=(9,)))
    assert (clip.width, clip.embedding_width, clip.patch_size, len(clip.vision.encoder.layers)) == (192, 192, 16, 9)


def test_block_beyond_the_tower_is_refused(clip_folder: Path) -> None:
    with pytest.raises(ConfigError, match="1 to 3"):
        load_clip(BackboneConfig(name=str(clip_folder), blocks=(4,)))


def test_name_that_cannot_be_fetched_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BackboneError, match=r"hf download openai/clip-vit-base-patch16 --local-dir FOLDER"):
        load_clip(BackboneConfig())


def test_a_hub_that_fails_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own clients retry six times, with 23 seconds of pauses."""
    asked: list[str] = []

    class Failing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if "no-such-clip" in self.path:  # once a day, its client also asks for other things
                asked.append(self.path)
            self.send_error(503)

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        with pytest.raises(BackboneError, match=r"(?s)got: no http.*503.*hf download nobody/no-such-clip"):
            load_clip(BackboneConfig(name="nobody/no-such-clip"))
        server.shutdown()
    assert asked == ["/nobody/no-such-clip/resolve/main/config.json"]


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/clip"])
def test_missing_folder_is_named(name: str) -> None:
    with pytest.raises(BackboneError, match="no such folder"):
        load_clip(BackboneConfig(name=name))


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    folder = make_clip(tmp_path / "clip")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BackboneError, match="vision tower"):
        load_clip(BackboneConfig(name=str(folder), blocks=(2,)))


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BackboneError, match=r"family that is not known"):
        load_clip(BackboneConfig(name=str(tmp_path)))
