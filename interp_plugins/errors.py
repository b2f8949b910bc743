"""The errors this package raises besides ValueError and TypeError (those are for wrong arguments).

InterpError
├── UnknownMethod      no method, host or kind of that name; the message suggests the nearest
├── DuplicateMethod    two plugins, or a plugin and a host, claim one name
├── BrokenPlugin       a plugin that could not be loaded was asked for
├── HostMissing        the host framework is not installed (also an ImportError)
├── LayerNotReached    a layer that was to be recorded did not run
└── LossNotFinite      training met a loss or a gradient that is NaN or infinite (also an ArithmeticError)
"""


class InterpError(Exception):
    """Anything this package raises by a name of its own."""


class UnknownMethod(InterpError, LookupError):
    """No method, host or kind of that name is known."""


class DuplicateMethod(InterpError):
    """A name is claimed twice."""


class BrokenPlugin(InterpError):
    """A plugin was asked for that could not be loaded."""


class HostMissing(InterpError, ImportError):
    """The host framework is not installed; the message says what to type."""


class LayerNotReached(InterpError):
    """A layer that was to be recorded did not run; the message lists those that did."""


class LossNotFinite(InterpError, ArithmeticError):
    """A loss or a gradient is NaN or infinite; the message names the term and the step."""
