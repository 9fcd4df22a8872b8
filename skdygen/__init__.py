"""Text classification with labels nobody can trust, for scikit-learn.

What is public is listed in `__init__.pyi` and imported when it is asked for (PEP 562),
so that torch is loaded by those who need it only.
"""

import lazy_loader

__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
