"""Data sets in the layouts the field uses, listed without opening a file, and images read in batches."""

from clipada.data.dataset import Dataset, Layout, Note
from clipada.data.layouts import load_dataset
from clipada.data.loading import Batch, load_mask, read_batches

__all__ = ["Batch", "Dataset", "Layout", "Note", "load_dataset", "load_mask", "read_batches"]
