"""The exceptions of this package, for who catches them; ``core.errors`` draws the tree."""

from .core.errors import *  # noqa: F403
from .core.errors import __all__ as __all__
