# What a type checker sees of the names that __init__.py loads on first use; a test holds the two together.
from infgeo import activations as activations
from infgeo import analysis as analysis
from infgeo import errors as errors
from infgeo import finite as finite
from infgeo import kernels as kernels
from infgeo import layers as layers
from infgeo import magnification as magnification
from infgeo import pictures as pictures
from infgeo import reproduce as reproduce
from infgeo import symbols as symbols
from infgeo import testing as testing
from infgeo import tracking as tracking
from infgeo import training as training
from infgeo.numeric.emit import emit as emit
from infgeo.numeric.finite_width import finite_width as finite_width
from infgeo.numeric.geodesics.radial import RadialGeodesic as RadialGeodesic
from infgeo.numeric.geometry import NumericGeometry as NumericGeometry
from infgeo.numeric.learned.learned import learned as learned
from infgeo.symbolic.geometry.any_metric import Metric as Metric
from infgeo.symbolic.geometry.metric import RadialMetric as RadialMetric
from infgeo.symbolic.kernels.kernel import Kernel as Kernel
from infgeo.symbolic.networks.network import MLP as MLP
from infgeo.tracking.tracker import GeometryTracker as GeometryTracker
from infgeo.validation.validate import validate as validate

__version__: str
