"""Evaluation: metrics of scores and maps on labeled test images."""
