"""Stage 2: from training dynamics to a prior belief in each text's true label."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
