"""Three procedural products for an offline demo: a woven fabric, a turned metal disc, a tray of tablets.

Their defects share no code with the synthetic anomalies that models are trained on.
"""

from pathlib import Path

from clipada.config import DemoConfig
from clipada.data.demo.fabric import FABRIC
from clipada.data.demo.metal import METAL
from clipada.data.demo.product import GOOD, Part, Product
from clipada.data.demo.tablets import TABLETS
from clipada.data.demo.writer import RECIPE, write_held_out, write_products
from clipada.types import ProgressReport, unreported

PRODUCTS: tuple[Product, ...] = (FABRIC, METAL, TABLETS)

__all__ = ["GOOD", "PRODUCTS", "RECIPE", "Part", "Product", "write_demo", "write_demo_held_out"]


def write_demo(folder: Path, config: DemoConfig | None = None, report: ProgressReport = unreported) -> None:
    """Write the demo's images to ``folder`` as ``write_products`` does, with ``DemoConfig``'s defaults."""
    write_products(folder, PRODUCTS, config or DemoConfig(), report)


def write_demo_held_out(folder: Path, config: DemoConfig | None = None, report: ProgressReport = unreported) -> None:
    """Write more good parts to ``folder`` as ``write_held_out`` does, with ``DemoConfig``'s defaults."""
    write_held_out(folder, PRODUCTS, config or DemoConfig(), report)
