# What a type checker sees of the names that __init__.py loads on first use; a test holds the two together.
from infgeo.reproduce.registry import FIGURES as FIGURES
from infgeo.reproduce.registry import Figure as Figure
from infgeo.reproduce.registry import listing as listing
from infgeo.reproduce.run import Outcome as Outcome
from infgeo.reproduce.run import reproduce as reproduce
