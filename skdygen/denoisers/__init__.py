"""Stage 3: from dynamics and prior to the posterior of the true label."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
