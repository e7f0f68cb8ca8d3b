"""Any number of runs and audits side by side: found, grouped by recipe, tested where they share samples."""

from classwise.comparison.overview import Overview, overview
from classwise.comparison.seeds import OverSeeds
from classwise.comparison.versus import Versus

__all__ = ["OverSeeds", "Overview", "Versus", "overview"]
