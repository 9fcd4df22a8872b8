"""Published settings."""

from __future__ import annotations

from typing import Any, Literal

from ._classifier import DyGenClassifier
from .denoisers import DirichletVAE
from .dynamics import LanguageModelDynamics
from .priors import TrajectoryKNNPrior


def make_paper_classifier(
    model: Any = "bert-base-uncased",
    *,
    contamination: Literal["auto"] | float = "auto",
    learning_rate: float = 5e-5,
    **params,
) -> DyGenClassifier:
    """Make a classifier with the settings of the DyGen paper.

    Two branches, ten epochs, all layers trained at one learning rate, lambda_1 = 5; the
    paper's score over all texts, ten neighbours in the embeddings of the first epoch,
    clean texts among their own neighbours, hard votes; delta = 5, lambda_2 = 2, ten
    epochs of the denoiser; labels corrected without a threshold. What is not the same:
    the paper is told the share of wrong labels, which is estimated here; a text's
    embedding is what sentence-transformers makes of the model, the mean over tokens for
    a plain BERT; texts are cut to 128 tokens and the table of word embeddings stays as
    it is, as always in `LanguageModelDynamics`; and `DirichletVAE` centres and scales
    the trajectories.

    Parameters
    ----------
    model : str, default="bert-base-uncased"
        Name or folder of the language model.
    contamination : "auto" or float in [0, 1), default="auto"
        Share of wrong labels; a float hands it over, as the paper does.
    learning_rate : float, default=5e-5
        Learning rate of the language model and its heads. The paper's is between 5e-5
        and 1e-4, depending on the data.
    **params : dict
        Other parameters of `DyGenClassifier`, also nested: ``dynamics__n_epochs=5``.

    Returns
    -------
    classifier : DyGenClassifier
        Not fitted.

    References
    ----------
    .. [1] Y. Zhuang, Y. Yu, L. Kong, X. Chen, C. Zhang, "DyGen: Learning from Noisy
       Labels via Dynamics-Enhanced Generative Modeling", KDD 2023.

    Examples
    --------
    >>> from skdygen import make_paper_classifier
    >>> make_paper_classifier(contamination=0.2).prior.criterion
    'paper'
    """
    classifier = DyGenClassifier(
        dynamics=LanguageModelDynamics(
            model,
            n_branches=2,
            n_epochs=10,
            learning_rate=learning_rate,
            head_learning_rate=None,
            n_recorded_epochs=None,
            recording="evaluation",
            batch_size=32,
            max_windows=1,
            trainable_layers="all",
            coregularization=5.0,
            coregularization_warmup=0.1,
            warmup_ratio=0.1,
        ),
        prior=TrajectoryKNNPrior(
            criterion="paper",
            contamination=contamination,
            selection="global",
            n_neighbors=10,
            leave_one_out=False,
            voting="hard",
            view=0,
            max_samples=None,
        ),
        denoiser=DirichletVAE(
            n_epochs=10,
            learning_rate=1e-3,
            prior_strength=5.0,
            prior_weight=0.0,
            coregularization=2.0,
            coregularization_warmup=0.1,
        ),
        correction_threshold=0.0,
    )
    return classifier.set_params(**params)
