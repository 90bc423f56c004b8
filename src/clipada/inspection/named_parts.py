"""Products that images of good parts show, by the names that a user gives, and by their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from clipada.calibration import PRODUCT, group_of
from clipada.errors import ConfigError, did_you_mean
from clipada.runs import Run

_LONGEST = 100


class NamedParts:
    """Names of what images show.

    Args:
        run: The run.
        product: Name of the product, if it is given.
        condition: Name of the condition, if it is given.

    Raises:
        ConfigError: The names do not fit the run.
    """

    def __init__(self, run: Run, product: str | None, condition: str | None) -> None:
        self.products = list(run.training.categories)
        self.product, self.condition = product, condition or ""
        for option, name in (("product", product), ("condition", condition)):
            _require_name(option, name)
        known = ", ".join(self.products)
        if product is None and condition is None:
            raise ConfigError(
                "it is not said what the images show",
                expected="--product NAME for a new product, or --condition NAME for another light or camera of "
                f"a product of the run: {known}",
                remedy="add one of them (Python: product, condition)",
            )
        if product in self.products and condition is None:
            raise ConfigError(
                f"product {product} is in the memory already",
                expected="a new product, or the name of the light or camera in which the images show it",
                remedy=f"add --condition NAME, or first `clipada remove {run.folder} --product {product}`",
            )
        if product is not None and product not in self.products and condition is not None:
            raise ConfigError(
                f"the run knows no product {product}",
                expected=f"one of {known}",
                remedy=did_you_mean(product, self.products) or "leave --condition out to add it as a new product",
            )

    def assign(
        self, paths: Sequence[Path], late: Mapping[Path, str | None]
    ) -> tuple[dict[str, list[Path]], list[Path]]:
        """Return the images of each product, and those of rejected alarms whose product is not known.

        Raises:
            ConfigError: The product of an image that is no rejected alarm is not known.
        """
        found: dict[str, list[Path]] = {}
        unassigned = []
        for path in (*paths, *late):
            name = self._of(path, late.get(path))
            if name is not None:
                found.setdefault(name, []).append(path)
            elif path in late:
                unassigned.append(path)
            else:
                raise ConfigError(
                    f"the product of {path} is not known",
                    expected="a folder that is named after one of " + ", ".join(self.products),
                    remedy="add --product NAME",
                )
        return found, unassigned

    def _of(self, path: Path, group: str | None) -> str | None:
        if self.product is not None:
            return self.product
        if len(self.products) == 1:
            return self.products[0]
        return next((name for name in (group, group_of(path, PRODUCT)) if name in self.products), None)


def _require_name(option: str, name: str | None) -> None:
    """Raise ``ConfigError`` unless a name can be that of a product or a condition."""
    plain = name is None or (name.strip() == name and name.isprintable() and not set(name) & set("/\\"))
    if not plain or name == "" or len(name or "") > _LONGEST:
        expected = f"1 to {_LONGEST} characters, without slashes and without spaces around"
        raise ConfigError(f"this cannot be the name of a {option}", expected=expected, got=repr(name))
