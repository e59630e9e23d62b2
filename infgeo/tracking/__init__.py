"""The geometry of one's own network while it trains: where it is looked at, the tracker, and what it has recorded."""

from infgeo.tracking.probes import Probe, grid, line, plane, points
from infgeo.tracking.store import Column, History, load
from infgeo.tracking.tracker import GeometryTracker

__all__ = ["Column", "GeometryTracker", "History", "Probe", "grid", "line", "load", "plane", "points"]
