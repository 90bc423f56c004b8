"""A Hugging Face hub in a folder."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalEntryNotFoundError


class FolderHub:
    """A hub whose repositories are folders; it records the requests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: dict[str, bool] = {}
        self.messages: list[str] = []

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
        assert exist_ok
        self.made[repo_id] = private
        return f"https://hub.test/{repo_id}"

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, revision: str | None, commit_message: str, delete_patterns: list[str]
    ) -> None:
        self.messages.append(commit_message)
        folder = self.root / repo_id / (revision or "main")
        for pattern in delete_patterns:
            for path in list(folder.glob(pattern)):
                path.unlink()
        shutil.copytree(folder_path, folder, dirs_exist_ok=True)

    def snapshot_download(self, repo_id: str, *, revision: str | None, allow_patterns: list[str], **_: object) -> str:
        assert "adapter.safetensors" in allow_patterns
        folder = self.root / repo_id / (revision or "main")
        if not folder.exists():
            raise LocalEntryNotFoundError("an error happened while trying to locate the files on the Hub")
        return str(folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderHub:
    """The hub, in place of the real one."""
    fake = FolderHub(tmp_path / "hub")
    monkeypatch.setattr(HfApi, "create_repo", fake.create_repo)
    monkeypatch.setattr(HfApi, "create_branch", lambda *_, **__: None)
    monkeypatch.setattr(HfApi, "upload_folder", fake.upload_folder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake.snapshot_download)
    return fake
