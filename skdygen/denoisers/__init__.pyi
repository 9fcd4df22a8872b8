from ._dirichlet_vae import DirichletVAE
from ._log_linear import LogLinearPool
from ._transition import TransitionMatrixDenoiser

__all__ = ["DirichletVAE", "LogLinearPool", "TransitionMatrixDenoiser"]
