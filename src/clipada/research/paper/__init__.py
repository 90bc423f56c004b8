"""Section 5 of the paper, run again: its tables, ablations and figures with measured rows beside the published ones."""

from clipada.research.paper.baselines import Contender
from clipada.research.paper.experiments import ABLATION, ABLATION_SEEDS, ITEMS
from clipada.research.paper.plan import PlannedRun, ReproductionPlan, coverage
from clipada.research.paper.published import DatasetName, paper_dataset
from clipada.research.paper.results import MeasuredMethod, Step

__all__ = [
    "ABLATION",
    "ABLATION_SEEDS",
    "ITEMS",
    "Contender",
    "DatasetName",
    "MeasuredMethod",
    "PlannedRun",
    "ReproductionPlan",
    "Step",
    "coverage",
    "paper_dataset",
]
