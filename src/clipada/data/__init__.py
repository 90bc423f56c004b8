"""Data sets in the layouts the field uses, listed without opening a file, and images read in batches."""

from clipada.data.batches import Batch, load_mask, read_batches
from clipada.data.dataset import Dataset, Layout, Note
from clipada.data.layouts import load_dataset

__all__ = ["Batch", "Dataset", "Layout", "Note", "load_dataset", "load_mask", "read_batches"]
