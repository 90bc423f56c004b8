"""Exports: a trained model folded, written as a graph, and compared with PyTorch."""
