"""Where texts are after an epoch: from the networks into trajectories."""

import numpy as np

from ..utils._processes import merge, own_rows


class Recorder:
    """Fills in the trajectories of a set of texts.

    Parameters
    ----------
    trajectories : Trajectories of n_samples texts
        Written to.
    epochs : list of int
        The epochs that are recorded, in the order in which they stand there.
    projection : GaussianRandomProjection or None
        Applied to the embedding of each branch.
    """

    def __init__(self, trajectories, epochs, projection=None):
        self.trajectories = trajectories
        self.epochs = epochs
        self.projection = projection
        self._is_own = np.zeros(len(trajectories), dtype=bool)

    def observe(self, epoch, rows, embeddings, logits):
        """Record what the networks say of a batch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, one of those that are recorded.
        rows : ndarray of shape (n_rows,)
            Positions of the texts.
        embeddings : Tensor of shape (n_branches, n_rows, n_features)
            Embeddings.
        logits : Tensor of shape (n_branches, n_rows, n_classes)
            Unnormalised log-probabilities.
        """
        position = self.epochs.index(epoch)
        seen = as_array(embeddings)
        if self.projection is not None:
            seen = seen @ self.projection.components_.T
        self.trajectories.embeddings[:, :, position][rows] = seen
        self.trajectories.probabilities[:, :, position][rows] = probabilities(logits)
        self._is_own[rows] = True

    def restore(self, dynamics):
        """Take over what an interrupted fit has recorded, a dict for each epoch."""
        for position, arrays in enumerate(dynamics):
            for moment, values in arrays.items():
                getattr(self.trajectories, moment)[:, :, position] = values

    def finish(self, epoch, rows, backbone, branches, inputs):
        """Record the rest of the texts, in evaluation mode, and end an epoch.

        The processes that fit together share the texts out among them; all have to
        come here.

        Parameters
        ----------
        epoch : int
            Number of the epoch.
        rows : ndarray of shape (n_rows,)
            Positions of the texts that no process has observed.
        backbone, branches, inputs
            See `run`.
        """

        def observe(*seen):
            self.observe(epoch, *seen)

        run(backbone, branches, inputs, own_rows(rows), observe)
        position = self.epochs.index(epoch)
        merge(self.trajectories.embeddings[:, :, position], self._is_own)
        merge(self.trajectories.probabilities[:, :, position], self._is_own)
        self._is_own[:] = False


def run(backbone, branches, inputs, rows, observe):
    """Embed and classify texts in evaluation mode.

    Parameters
    ----------
    backbone : Backbone
        Says where, in which precision and how many texts at once.
    branches : Branches
        The networks.
    inputs : Inputs of n_samples texts
        What they read.
    rows : ndarray of shape (n_rows,)
        Positions of the texts.
    observe : callable
        Is given the positions, embeddings and logits of each batch.
    """
    branches.eval()
    for batch, (embeddings, logits) in backbone.infer(branches, inputs, rows):
        observe(batch, embeddings, logits)


def as_array(values):
    """Tensor (n_branches, n_rows, ...) to array (n_rows, n_branches, ...)."""
    return values.detach().float().transpose(0, 1).cpu().numpy()


def probabilities(logits):
    """Class probabilities, (n_rows, n_branches, n_classes), of the networks' logits."""
    return as_array(logits.detach().float().softmax(-1))


def kept_epochs(trajectory_epochs, n_epochs, trainable_layers):
    """Give the epochs to keep, from 0, by the parameters of `LanguageModelDynamics`."""
    if trajectory_epochs == "auto":
        trajectory_epochs = None if trainable_layers == 0 else 2
    return spread_epochs(trajectory_epochs, n_epochs)


def epochs_while_training(recording, epochs, trainable_layers):
    """Give those of the recorded epochs that need no pass over the texts."""
    if recording == "auto":
        recording = "evaluation" if trainable_layers == 0 else "mixed"
    return {"evaluation": [], "training": epochs, "mixed": epochs[:-1]}[recording]


def spread_epochs(n_kept, n_epochs):
    """Give epochs to keep, spread evenly over the training and ending with the last."""
    if n_kept is None or n_kept >= n_epochs:
        return list(range(n_epochs))
    step = n_epochs / n_kept
    return [round(step * (i + 1)) - 1 for i in range(n_kept)]
