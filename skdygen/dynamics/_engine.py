"""Stage 1 from top to bottom: load, cut, train, record, keep, replay.

`fit` prepares and `_train` is the training loop, for all branches at once; `Networks`
replays what they have given. Parameters are read from the `LanguageModelDynamics` that
is being fitted, `stage` here.
"""

import logging
import os
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.random_projection import GaussianRandomProjection
from sklearn.utils import check_random_state, gen_batches
from transformers import get_linear_schedule_with_warmup
from transformers.trainer_pt_utils import get_length_grouped_indices

from .. import _torch
from .._memmap import allocate_together, parts
from .._progress import bar, task, tasks
from .._trajectories import Trajectories
from ._checkpoint import Checkpoint, check_folder, hash_fit
from ._encoders import fit_encoder, is_language_model
from ._frozen import Backbone, Encoder
from ._hub import begins_with_transformer, find_model, load_sentence_transformer
from ._networks import Branch, Branches, HiddenLayer, coregularized_loss, is_head

logger = logging.getLogger(__name__)

_STEPS_BETWEEN_CHECKS = 50  # of the loss: each waits for the device
# Distance of embeddings of length 1. Devices and libraries differ by far less.
_SAME_EMBEDDING = 1e-2
# Parameters that say where and how fitted networks compute.
_OF_A_REPLAY = (
    "model", "batch_size", "max_tokens", "device", "max_nbytes", "temp_folder",
    "verbose",
)  # fmt: skip
# Those that say what fitted networks are: as they were in the fit.
_OF_NETWORKS = (
    "n_branches", "trainable_layers", "hidden_size", "dropout", "max_length",
    "max_windows",
)  # fmt: skip
_LEAST_VARIANCE = 1e-5  # what torch's LayerNorm adds to that of a text's numbers


def check_machine(stage):
    """Raise an error if a stage lacks what is to be on this machine."""
    _torch.find_device(stage.device)
    if isinstance(stage.model, (str, os.PathLike)):
        find_model(stage.model, verify=False)
    if stage.checkpoint_dir is not None and not _torch.process_index():
        check_folder(stage.checkpoint_dir)


@_torch.usual_modes()
def fit(stage, texts, targets, *, record):
    """Fine-tune all branches; set the fitted attributes and give `Trajectories`.

    They are None unless `record`.
    """
    device = _torch.find_device(stage.device)
    stage.precision_ = _torch.choose_precision(stage.precision, device)
    stage.recorded_epochs_ = recorded_epochs(stage)
    stage._of_networks = {name: getattr(stage, name) for name in _OF_NETWORKS}
    with task("encoding"):
        stage.encoder_ = fit_encoder(stage.model, texts)
        backbone = make_backbone(stage, device)
        _check_n_components(stage, backbone.n_features)
        # The part of the model that is not trained is computed here, once per text.
        inputs = backbone.encode(texts)
    if stage.trainable_layers == 0:
        _check_variance(inputs.fields["sentence_embedding"])

    rng = check_random_state(stage.random_state)
    checkpoint = resumed = None
    if stage.checkpoint_dir is not None:
        is_seeded = stage.random_state is not None
        random_state = _torch.same_everywhere(rng.get_state() if is_seeded else None)
        key = hash_fit(
            stage, backbone.identity(inputs), texts, targets, record, str(device),
            random_state,
        )  # fmt: skip
        checkpoint = Checkpoint(stage.checkpoint_dir, key)
        resumed = _torch.same_everywhere(checkpoint.read())
    seed = _torch.same_everywhere(rng.randint(np.iinfo(np.int32).max))
    if resumed is not None:  # without a random state, the interrupted fit drew another
        seed = resumed["seed"]

    with _torch.seeded(seed, device):
        branches = _make_branches(stage, backbone, len(targets.classes))
        return _train(
            stage, backbone, branches, texts, inputs, targets, record, seed, checkpoint,
            resumed,
        )  # fmt: skip


def _train(
    stage, backbone, branches, texts, inputs, targets, record, seed, checkpoint, resumed
):
    """Train the branches, and record and keep what is asked for after each epoch."""
    device = backbone.device
    what = "fine-tuning" if stage.trainable_layers != 0 else "training heads for"
    logger.info(
        "%s %d branches of %s on %s in %s: %d texts, %d without a label",
        what, stage.n_branches, stage.model, device, stage.precision_, len(texts),
        len(texts) - len(targets.labelled),
    )  # fmt: skip
    n_features_out = stage.n_components or branches.n_features
    stage.n_features_out_ = n_features_out
    stage.trajectory_shape_ = (
        stage.n_branches, len(stage.recorded_epochs_), n_features_out
    )  # fmt: skip
    stage.projection_ = _make_projection(stage, branches.n_features, seed)
    stage.fingerprint_ = backbone.fingerprint()
    stage.snapshots_, stage.history_ = [], {"loss": [], "tokens_per_second": []}
    index = _torch.process_index()
    if index:  # each process draws a dropout of its own
        _torch.seed_torch(seed + index, device)

    trajectories = recorder = None
    if record:
        trajectories = _allocate(stage, backbone, len(texts))
        backbone.embed(texts, inputs, trajectories.views["initial"])
        recorder = Recorder(stage, trajectories)
    in_training = _epochs_recorded_in_training(stage)

    order_of = _draw_batches(stage, inputs, targets.labelled, seed)
    n_steps = sum(map(len, order_of))
    labels = torch.from_numpy(targets.codes).to(device)
    if targets.votes is not None:
        labels = torch.from_numpy(targets.distributions).float().to(device)
    weights = targets.weights / targets.weights[targets.labelled].mean()
    weights = torch.from_numpy(weights).float().to(device)
    optimizer, schedule = _make_optimizer(stage, branches, n_steps, device)
    training = TrainingState(branches, optimizer, schedule, device)

    first_epoch = 0
    if resumed is not None:
        first_epoch = resumed["epoch"] + 1
        training.restore(resumed["training"])
        stage.snapshots_ = [tensor.numpy().tobytes() for tensor in resumed["snapshots"]]
        stage.history_ = resumed["history"]
        if record:
            recorder.restore(resumed["dynamics"])

    network = _torch.distribute(branches)
    n_without_pull = _torch.n_epochs_without_pull(
        stage.coregularization_warmup, stage.n_epochs
    )
    n_rows = stage.batch_size  # whose gradients are computed at once
    progress = bar(
        total=n_steps, desc="fine-tuning", unit="batch", verbose=stage.verbose,
        initial=sum(map(len, order_of[:first_epoch])),
    )  # fmt: skip
    with progress:
        for epoch in tasks("epoch", range(first_epoch, stage.n_epochs)):
            pull = stage.coregularization if epoch >= n_without_pull else 0.0
            order = order_of[epoch]
            losses = torch.zeros(len(order), device=device)
            n_tokens, start = 0, time.perf_counter()
            branches.train()
            for step, batch in enumerate(order):
                rows, share = _torch.own_share(batch)
                seen = None
                while seen is None:
                    try:
                        losses[step], seen = _add_gradients(
                            network, backbone, inputs, labels, weights, rows, n_rows,
                            share, pull,
                        )  # fmt: skip
                    except RuntimeError as error:
                        if network is not branches:  # the other processes wait
                            raise
                        n_rows = _torch.fewer_rows(error, min(n_rows, len(rows)))
                        optimizer.zero_grad()
                for branch in branches.branches:  # their mean is the loss
                    limit = stage.max_grad_norm / stage.n_branches
                    torch.nn.utils.clip_grad_norm_(branch.parameters(), limit)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                if record and epoch in in_training and share:  # 0: others have them
                    for part in seen:
                        recorder.add(epoch, *part)
                n_tokens += int(inputs.lengths[batch].sum())
                progress.update()
                if (step + 1) % _STEPS_BETWEEN_CHECKS == 0 or step + 1 == len(order):
                    found = _torch.mean_everywhere(losses[: step + 1])
                    _check_finite(found, epoch)
                    mean_loss = found.mean().item()
                    speed = n_tokens / (time.perf_counter() - start)
                    unit = "tokens/s" if inputs.has_tokens else "texts/s"
                    progress.set_postfix(
                        {"loss": f"{mean_loss:.4f}", unit: f"{speed:,.0f}"}
                    )
            logger.info(
                "epoch %d of %d: loss %.4f", epoch + 1, stage.n_epochs, mean_loss
            )
            stage.history_["loss"].append(mean_loss)
            stage.history_["tokens_per_second"].append(speed)

            if epoch in stage.recorded_epochs_:
                _check_weights(branches, epoch)
                stage.snapshots_.append(branches.snapshot())
                if record:
                    is_left = (targets.codes < 0) | (epoch not in in_training)
                    # With the weights as kept, so that a replay is the same.
                    with branches.restored(stage.snapshots_[-1]):
                        recorder.finish(
                            epoch, np.flatnonzero(is_left), backbone, branches, inputs
                        )
            if checkpoint is not None:
                checkpoint.write(
                    epoch=epoch,
                    seed=seed,
                    training=training.get(),
                    history=stage.history_,
                    snapshots=[  # as tensors, which torch reads without pickle
                        torch.frombuffer(bytearray(snapshot), dtype=torch.uint8)
                        for snapshot in stage.snapshots_
                    ],
                    dynamics=recorder.get(len(stage.snapshots_)) if record else [],
                )
    if checkpoint is not None:
        checkpoint.remove()
    if not stage.store_weights:
        stage.snapshots_ = []
    return trajectories


def _add_gradients(
    network, backbone, inputs, labels, weights, rows, n_rows, share, pull
):
    """Add up the gradients of a batch, computed for `n_rows` texts at a time.

    Returns the loss, and positions, embeddings and logits of each part.
    """
    total, seen = 0.0, []
    for part in gen_batches(len(rows), n_rows):
        few = rows[part]
        with _torch.autocast(backbone.precision, backbone.device):
            embeddings, logits = network(inputs.batch(few, backbone.device))
        loss = coregularized_loss(logits.float(), labels[few], weights[few], pull)
        loss = share * len(few) / len(rows) * loss
        loss.backward()
        total = total + loss.detach()
        seen.append((few, embeddings.detach(), logits.detach()))
    return total, seen


class Recorder:
    """Fills in the trajectories of a set of texts, epoch by epoch."""

    def __init__(self, stage, trajectories):
        self.trajectories = trajectories
        self.epochs, self.projection = stage.recorded_epochs_, stage.projection_
        self._own = []  # rows that this process has recorded in this epoch

    def add(self, epoch, rows, embeddings, logits):
        """Record what the networks say of a batch, each (n_branches, n_rows, ...)."""
        position = self.epochs.index(epoch)
        seen = _as_array(embeddings)
        if self.projection is not None:
            seen = seen @ self.projection.components_.T
        self.trajectories.embeddings[:, :, position][rows] = seen
        self.trajectories.probabilities[:, :, position][rows] = _probabilities(logits)
        self._own.append(rows)

    def finish(self, epoch, rows, backbone, branches, inputs):
        """Record the rows that are left in evaluation mode, and end the epoch.

        The processes that fit together share them out; all have to come here.
        """
        branches.eval()
        for batch, seen in backbone.infer(branches, inputs, _torch.own_rows(rows)):
            self.add(epoch, batch, *seen)
            _check_outputs(*seen, epoch)
        position = self.epochs.index(epoch)
        own = np.concatenate([*self._own, rows[:0]])
        _torch.merge_rows(self.trajectories.embeddings[:, :, position], own)
        _torch.merge_rows(self.trajectories.probabilities[:, :, position], own)
        self._own = []

    def get(self, n_epochs):
        """Return what has been recorded of so many epochs, as tensors."""
        moments = (self.trajectories.embeddings, self.trajectories.probabilities)
        return [
            [torch.from_numpy(np.array(moment[:, :, position])) for moment in moments]
            for position in range(n_epochs)
        ]

    def restore(self, dynamics):
        """Take over what `get` has given."""
        for position, (embeddings, probabilities) in enumerate(dynamics):
            self.trajectories.embeddings[:, :, position] = embeddings.numpy()
            self.trajectories.probabilities[:, :, position] = probabilities.numpy()


class TrainingState:
    """Everything that the rest of a training depends on, to be kept and restored."""

    def __init__(self, branches, optimizer, schedule, device):
        self.parameters = branches.trained_parameters()
        self.optimizer, self.schedule = optimizer, schedule
        self.device = device

    def get(self):
        """Return it as a dict of tensors and numbers."""
        random = [torch.get_rng_state()]
        if self.device.type == "cuda":
            random.append(torch.cuda.get_rng_state(self.device))
        return {
            "weights": {name: p.detach() for name, p in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": _torch.from_all(random),
        }

    @torch.no_grad()
    def restore(self, training):
        """Take over what `get` has given."""
        for name, parameter in self.parameters.items():
            parameter.copy_(training["weights"][name])
        self.optimizer.load_state_dict(training["optimizer"])
        self.schedule.load_state_dict(training["schedule"])
        random = training["random"][_torch.process_index()]
        torch.set_rng_state(random[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(random[1], self.device)


class Networks:
    """The networks of a fitted stage, for predictions of one thread at a time."""

    def __init__(self, stage):
        self.settings = _replay_settings(stage)
        stage = _as_fitted(stage)
        device = _torch.find_device(stage.device)
        # Not verified: its fingerprint is compared below.
        self.backbone = make_backbone(stage, device, verify=False)
        with _torch.seeded(0):  # first weights are drawn, then replaced
            self.branches = _make_branches(stage, self.backbone, len(stage.classes_))
            found = self.backbone.fingerprint()
        is_same = found.shape == stage.fingerprint_.shape
        if not is_same or np.linalg.norm(found - stage.fingerprint_) > _SAME_EMBEDDING:
            raise ValueError(
                f"model={stage.model!r} is not the model that has been fine-tuned: it "
                f"embeds a text otherwise. Put that one back, say where it is with "
                f"set_params(model=...), or fit again."
            )

    def are_for(self, stage):
        """Whether they compute as the parameters of a stage say now."""
        return self.settings == _replay_settings(stage)

    @_torch.usual_modes()
    def replay(self, stage, texts, epochs=None):
        """Trajectories of texts by the weights of the recorded epochs.

        Of those at other positions than `epochs`, unless it is None, all is NaN.
        """
        texts, rows = _distinct(texts)
        positions = range(len(stage.snapshots_))
        wanted = positions if epochs is None else {positions[i] for i in epochs}
        with self._progress(len(texts) * len(wanted), "replaying") as progress:
            inputs = self.backbone.encode(texts)
            trajectories = _allocate(_as_fitted(stage), self.backbone, len(texts))
            self.backbone.embed(texts, inputs, trajectories.views["initial"])
            recorder = Recorder(stage, trajectories)
            self.branches.eval()
            for position, epoch in enumerate(stage.recorded_epochs_):
                if position not in wanted:
                    trajectories.embeddings[:, :, position] = np.nan
                    trajectories.probabilities[:, :, position] = np.nan
                    continue
                self.branches.load(stage.snapshots_[position])
                for batch, seen in self.backbone.infer(self.branches, inputs):
                    recorder.add(epoch, batch, *seen)
                    progress.update(len(batch))
        return trajectories if len(rows) == len(texts) else trajectories[rows]

    @_torch.usual_modes()
    def predict_proba(self, stage, texts):
        """Class probabilities after the last epoch, mean over the branches."""
        texts, rows = _distinct(texts)
        probabilities = np.empty((len(texts), len(stage.classes_)))
        with self._progress(len(texts), "predicting") as progress:
            inputs = self.backbone.encode(texts)
            self.branches.eval()
            self.branches.load(stage.snapshots_[-1])
            for batch, (_, logits) in self.backbone.infer(self.branches, inputs):
                found = _probabilities(logits)
                probabilities[batch] = found.mean(axis=1, dtype=np.float64)
                progress.update(len(batch))
        return probabilities[rows]

    def _progress(self, n_texts, desc):
        """Return a progress bar over texts."""
        return bar(total=n_texts, desc=desc, unit="text", verbose=self.backbone.verbose)


def recorded_epochs(stage):
    """List the epochs to record, from 0, spread evenly and ending with the last."""
    n_recorded = stage.n_recorded_epochs
    if n_recorded == "auto":
        n_recorded = None if stage.trainable_layers == 0 else 2
    if n_recorded is None or n_recorded >= stage.n_epochs:
        return list(range(stage.n_epochs))
    step = stage.n_epochs / n_recorded
    return [round(step * (i + 1)) - 1 for i in range(n_recorded)]


def _epochs_recorded_in_training(stage):
    """List those of the recorded epochs that need no pass over the texts."""
    epochs, recording = stage.recorded_epochs_, stage.recording
    if recording == "auto":
        recording = "evaluation" if stage.trainable_layers == 0 else "mixed"
    return {"evaluation": [], "training": epochs, "mixed": epochs[:-1]}[recording]


def _as_fitted(stage):
    """What networks of a stage are made by, whatever has been set since its fit."""
    return SimpleNamespace(**vars(stage) | stage._of_networks)


def _replay_settings(stage):
    """Parameters that networks are built by, as they are set now."""
    return {name: getattr(stage, name) for name in _OF_A_REPLAY}


def make_backbone(stage, device, *, verify=True):
    """Have ready what embeds texts; weights that a model lacks are drawn alike."""
    if not is_language_model(stage.model):
        fitted = stage.encoder_
        embed = stage.model if fitted is None else fitted.transform
        return Encoder(embed, stage, device)
    with _torch.seeded(0):
        model = load_sentence_transformer(
            stage.model, max_length=stage.max_length, verify=verify
        )
        if begins_with_transformer(model):
            return Backbone(model, stage, device)
    if stage.trainable_layers != 0:
        raise ValueError(
            f"model={stage.model!r} does not begin with a transformer but with "
            f"{type(model[0]).__name__}, of which no layer can be trained; use "
            f"trainable_layers=0."
        )
    embed = partial(model.to(device).encode, show_progress_bar=False)
    return Encoder(embed, stage, device)


def _make_branches(stage, backbone, n_classes):
    """Make the networks that are to be trained."""
    branches = []
    for _ in range(stage.n_branches):
        if stage.trainable_layers == 0:
            body = HiddenLayer(backbone.n_features, stage.hidden_size)
            n_features = stage.hidden_size
        else:
            body, n_features = backbone.trained_part(), backbone.n_features
        branches.append(Branch(body, n_features, n_classes, stage.dropout))
    return Branches(branches).to(backbone.device)


def _check_n_components(stage, n_features):
    """Raise an error if embeddings cannot be projected to so few dimensions."""
    if stage.trainable_layers == 0:
        n_features = stage.hidden_size
    if stage.n_components is not None and stage.n_components >= n_features:
        raise ValueError(
            f"n_components={stage.n_components}, but the embeddings are no wider "
            f"than {n_features}; use a smaller number, or None."
        )


def _make_projection(stage, n_features, seed):
    """Make what recorded embeddings are projected by, if they are."""
    if stage.n_components is None:
        return None
    projection = GaussianRandomProjection(stage.n_components, random_state=seed)
    return projection.fit(np.zeros((1, n_features), dtype=np.float32))


def _make_optimizer(stage, branches, n_steps, device):
    """AdamW with a learning rate for the heads, and its schedule."""
    groups = {}
    for name, parameter in branches.trained_parameters().items():
        key = is_head(name), parameter.ndim > 1  # no decay of biases and norms
        groups.setdefault(key, []).append(parameter)
    head_learning_rate = stage.head_learning_rate or stage.learning_rate
    optimizer = torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": head_learning_rate if of_head else stage.learning_rate,
                "weight_decay": stage.weight_decay if is_matrix else 0.0,
            }
            for (of_head, is_matrix), parameters in groups.items()
        ],
        fused=device.type in ("cpu", "cuda"),
    )
    n_warmup_steps = int(stage.warmup_ratio * n_steps)
    return optimizer, get_linear_schedule_with_warmup(
        optimizer, n_warmup_steps, n_steps
    )


def _draw_batches(stage, inputs, labelled, seed):
    """Draw the batches of every epoch: texts of like length together, in any order."""
    rng = np.random.RandomState(seed)
    generator = torch.Generator().manual_seed(seed)
    lengths = inputs.lengths[labelled].tolist()
    epochs = []
    for _ in range(stage.n_epochs):
        # Its own choice sorts few texts together, or none where there are few.
        order = get_length_grouped_indices(
            lengths, stage.batch_size, mega_batch_mult=50, generator=generator
        )
        order = labelled[order]
        batches = [order[part] for part in gen_batches(len(order), stage.batch_size)]
        epochs.append(
            [
                few
                for i in rng.permutation(len(batches))
                for few in inputs.cut(batches[i], stage.batch_size, stage.max_tokens)
            ]
        )
    return epochs


def _allocate(stage, backbone, n_samples):
    """Allocate trajectories; embeddings are in half precision."""
    shape, classes = (n_samples, *stage.trajectory_shape_), stage.classes_
    embeddings, probabilities, initial = allocate_together(
        [
            (shape, np.float16),
            ((*shape[:3], len(classes)), np.float32),
            ((n_samples, backbone.n_features), np.float16),
        ],
        **backbone.storage,
    )
    return Trajectories._unchecked(  # there are no numbers yet
        embeddings, probabilities, classes, views={"initial": initial},
        fine_tuned=stage.trainable_layers != 0,
    )  # fmt: skip


def _check_variance(embeddings):
    """Raise an error if the numbers of a text are too alike to learn from."""
    n_texts = len(embeddings)
    found = sum(embeddings[part].var(axis=1).sum() for part in parts(n_texts)) / n_texts
    if found < _LEAST_VARIANCE:
        raise ValueError(
            f"model gives {embeddings.shape[1]} numbers for a text that differ too "
            f"little (variance {found:.1g}, {_LEAST_VARIANCE:g} is needed); give more, "
            f"or multiply them."
        )


def _check_finite(losses, epoch):
    """Raise an error if one of the first batches of an epoch has no finite loss."""
    wrong = (~torch.isfinite(losses)).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise FloatingPointError(
            f"the loss of batch {first + 1} in epoch {epoch + 1} is "
            f"{losses[first].item()}; use a smaller learning_rate, or precision='fp32'."
        )


def _check_outputs(embeddings, logits, epoch):
    """Raise an error if the networks give no finite numbers, by weights that are."""
    if not (embeddings.isfinite().all() and logits.isfinite().all()):
        raise FloatingPointError(
            f"after epoch {epoch + 1} the networks give no finite numbers; use a "
            f"smaller learning_rate or head_learning_rate, or precision='fp32'."
        )


def _check_weights(branches, epoch):
    """Raise an error if weights are too large for the half precision they are kept in.

    The loss of the last batch has not seen its step.
    """
    for name, parameter in branches.trained_parameters().items():
        if not parameter.detach().half().isfinite().all():
            raise FloatingPointError(
                f"after epoch {epoch + 1} the weights {name} are too large for half "
                f"precision; use a smaller learning_rate or head_learning_rate."
            )


def _distinct(texts):
    """Return each text once, and where in them every given text is."""
    positions = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return list(positions), np.array([positions[text] for text in texts])


def _as_array(values):
    """Tensor (n_branches, n_rows, ...) to array (n_rows, n_branches, ...)."""
    return values.detach().float().transpose(0, 1).cpu().numpy()


def _probabilities(logits):
    """Class probabilities, (n_rows, n_branches, n_classes), of the networks' logits."""
    return _as_array(logits.detach().float().softmax(-1))
