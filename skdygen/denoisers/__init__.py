"""Stage 3: from dynamics, given labels and a prior to the posterior of true labels."""

from ._dirichlet_vae import DirichletVAE
from ._transition import TransitionMatrixDenoiser

__all__ = ["DirichletVAE", "TransitionMatrixDenoiser"]
