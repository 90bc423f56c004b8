"""Section 5 of the paper, run again: its tables, ablations and figures with measured rows beside the published ones."""

from clipada.research.paper.baselines import BaselineRun
from clipada.research.paper.experiments import ABLATION, ABLATION_SEEDS, ITEMS, Experiment
from clipada.research.paper.plan import PlannedRun, ReproductionPlan, coverage
from clipada.research.paper.published import DatasetName, paper_dataset
from clipada.research.paper.results import MeasuredMethod
from clipada.research.paper.tables import PaperTable

__all__ = [
    "ABLATION",
    "ABLATION_SEEDS",
    "ITEMS",
    "BaselineRun",
    "DatasetName",
    "Experiment",
    "MeasuredMethod",
    "PaperTable",
    "PlannedRun",
    "ReproductionPlan",
    "coverage",
    "paper_dataset",
]
