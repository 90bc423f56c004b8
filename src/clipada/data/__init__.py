"""Data sets in common layouts, listed without opening an image, and images read in batches."""

from clipada.data.batches import Batch, read_batches
from clipada.data.dataset import Dataset, Layout, Note
from clipada.data.layouts import load_dataset
from clipada.data.masks import load_mask, read_mask

__all__ = ["Batch", "Dataset", "Layout", "Note", "load_dataset", "load_mask", "read_batches", "read_mask"]
