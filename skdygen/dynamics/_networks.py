"""The networks that are trained together, and how their weights are kept."""

from contextlib import contextmanager

import torch
from safetensors.torch import load, save
from torch import nn


class Branches(nn.Module):
    """Several networks that read the same batches; each has its own weights.

    Parameters
    ----------
    branches : list of Branch
        The networks.
    """

    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.n_features = branches[0].head.in_features

    def forward(self, features):
        """Run all branches.

        Parameters
        ----------
        features : dict of str to Tensor
            A batch of `n_rows` texts, as from `Inputs.batch`.

        Returns
        -------
        embeddings : Tensor of shape (n_branches, n_rows, n_features)
            Embeddings.
        logits : Tensor of shape (n_branches, n_rows, n_classes)
            Unnormalised log-probabilities of the classes.
        """
        outputs = [branch(dict(features)) for branch in self.branches]
        embeddings, logits = zip(*outputs, strict=True)
        return torch.stack(embeddings), torch.stack(logits)

    def trained_parameters(self):
        """Return the parameters that training changes, by name."""
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if parameter.requires_grad
        }

    def snapshot(self):
        """Return the trained weights in half precision, as safetensors bytes."""
        return save(
            {
                name: parameter.detach().half().cpu().contiguous()
                for name, parameter in self.trained_parameters().items()
            }
        )

    @torch.no_grad()
    def load(self, snapshot):
        """Take over the weights of a snapshot.

        Parameters
        ----------
        snapshot : bytes
            Output of `snapshot`.
        """
        weights = load(snapshot)
        for name, parameter in self.trained_parameters().items():
            parameter.copy_(weights[name])

    @contextmanager
    def restored(self, snapshot):
        """Have the weights of a snapshot inside a ``with`` block."""
        parameters = self.trained_parameters().values()
        current = [parameter.detach().clone() for parameter in parameters]
        self.load(snapshot)
        try:
            yield self
        finally:
            with torch.no_grad():
                for parameter, value in zip(parameters, current, strict=True):
                    parameter.copy_(value)


class Branch(nn.Module):
    """One network: the trained part of the language model and a linear head.

    Parameters
    ----------
    body : nn.Module
        Adds "sentence_embedding" to the features.
    n_features : int
        Width of the embedding.
    n_classes : int
        Number of classes.
    dropout : float
        Share of the embedding's features dropped in front of the head.
    """

    def __init__(self, body, n_features, n_classes, dropout):
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_features, n_classes)

    def forward(self, features):
        """Return embedding and logits of a batch."""
        embedding = self.body(features)["sentence_embedding"]
        return embedding, self.head(self.dropout(embedding))

    def train(self, mode=True):
        """Set the training mode; what is not trained stays in evaluation mode."""
        super().train(mode)
        for module in self.body.modules():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()
        return self


class HiddenLayer(nn.Module):
    """One hidden layer on a frozen embedding: the body when no layer is trained.

    Parameters
    ----------
    n_inputs : int
        Width of the frozen embedding.
    n_features : int
        Width of the hidden layer, which is the embedding whose dynamics count.
    """

    def __init__(self, n_inputs, n_features):
        super().__init__()
        self.layers = nn.Sequential(
            # Frozen embeddings often have unit length; a head learns faster from
            # features of unit variance.
            nn.LayerNorm(n_inputs, elementwise_affine=False),
            nn.Linear(n_inputs, n_features),
            nn.ReLU(),
        )

    def forward(self, features):
        """Replace the frozen embedding by the hidden layer's output."""
        return {"sentence_embedding": self.layers(features["sentence_embedding"])}
