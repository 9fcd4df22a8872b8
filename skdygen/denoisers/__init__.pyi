from ._dirichlet_vae import DirichletVAE
from ._transition import TransitionMatrixDenoiser

__all__ = ["DirichletVAE", "TransitionMatrixDenoiser"]
