"""Evaluation: how well scores and maps tell anomalous images from normal ones."""
