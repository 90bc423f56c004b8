"""Answers about verdicts that an earlier version stored."""

from clipada.server.schemas import Identity


def test_a_verdict_of_a_run_that_was_not_sealed_is_answered() -> None:
    stored = {"run": "line3", "sha256": "a" * 64, "backbone_sha256": "b" * 64, "engine": "torch fp32"}
    assert Identity.model_validate(stored).model_dump() == stored | {"manifest_sha256": None}
