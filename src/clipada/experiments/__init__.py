"""Section 5 of the paper, run again: its tables, ablations and figures with measured rows beside the published ones."""

from clipada.experiments.contenders import Contender
from clipada.experiments.plan import PlannedRun, ReproductionPlan, coverage
from clipada.experiments.published import DatasetName, paper_dataset
from clipada.experiments.reproduce import Reproduction, plan_reproduction, reproduce
from clipada.experiments.results import MeasuredMethod, Step
from clipada.experiments.runs import ABLATION, ABLATION_SEEDS, ITEMS

__all__ = [
    "ABLATION",
    "ABLATION_SEEDS",
    "ITEMS",
    "Contender",
    "DatasetName",
    "MeasuredMethod",
    "PlannedRun",
    "Reproduction",
    "ReproductionPlan",
    "Step",
    "coverage",
    "paper_dataset",
    "plan_reproduction",
    "reproduce",
]
