"""The published procedure, written anew as a measure of cost.

As the research code does it: every text padded to the maximum length, float32, all
branches trained on each batch, and after every epoch one more pass over the training,
validation and test texts, whose embeddings are all kept in float32.
"""

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch import nn

from skdygen import Trajectories
from skdygen.denoisers import DirichletVAE
from skdygen.dynamics._hub import load_sentence_transformer
from skdygen.dynamics._networks import coregularized_loss
from skdygen.priors import TrajectoryKNNPrior


class Network(nn.Module):
    """A transformer, the mean over its tokens, and a linear head."""

    def __init__(self, name, n_classes):
        super().__init__()
        model = load_sentence_transformer(name)
        self.tokenizer = model.tokenizer
        self.transformer = model[0].model
        self.head = nn.Linear(self.transformer.config.hidden_size, n_classes)

    def forward(self, inputs):
        """Return embeddings and logits."""
        hidden = self.transformer(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        embedding = (hidden * mask).sum(1) / mask.sum(1)
        return embedding, self.head(embedding)


def fit_published(
    name, texts, labels, others, *, n_branches, n_epochs, batch_size, max_length, seed,
    learning_rate=5e-5,
):  # fmt: skip
    """Fine-tune, record everything after every epoch, and denoise.

    Parameters
    ----------
    name : str
        The model.
    texts : list of str of length n_samples
        Training texts.
    labels : ndarray of shape (n_samples,)
        Their labels.
    others : list of str
        Validation and test texts.
    n_branches, n_epochs, batch_size, max_length : int
        As in `LanguageModelDynamics`.
    seed : int
        Random state.
    learning_rate : float, default=5e-5
        Of AdamW.

    Returns
    -------
    posterior : ndarray of shape (n_others, n_classes)
        Of the validation and test texts.
    """
    classes, codes = np.unique(labels, return_inverse=True)
    torch.manual_seed(seed)  # a script of one's own; callers keep their random state
    networks = [Network(name, len(classes)) for _ in range(n_branches)]
    tokens = networks[0].tokenizer(
        [*texts, *others], padding="max_length", truncation=True,
        max_length=max_length, return_tensors="pt",
    )  # fmt: skip
    targets = torch.from_numpy(codes)
    parameters = [p for network in networks for p in network.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
    rng = np.random.RandomState(seed)

    moments = []
    for epoch in range(n_epochs):
        for network in networks:
            network.train()
        order = rng.permutation(len(texts))
        for part in gen_batches(len(texts), batch_size):
            rows = torch.from_numpy(order[part])
            inputs = {key: value[rows] for key, value in tokens.items()}
            logits = torch.stack([network(inputs)[1] for network in networks])
            loss = coregularized_loss(
                logits, targets[rows], torch.ones(len(rows)), 5.0 if epoch else 0.0
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        moments.append(_look(networks, tokens, batch_size))

    embeddings, probabilities = (
        np.stack([moment[i] for moment in moments], axis=2) for i in (0, 1)
    )
    recorded = Trajectories(embeddings, probabilities, classes)
    prior = TrajectoryKNNPrior(criterion="paper", view=0, max_samples=None)
    trained = prior.fit_transform(recorded[: len(texts)], labels)
    denoiser = DirichletVAE(
        n_epochs=10, learning_rate=1e-3, prior_strength=5.0, prior_weight=0.0,
        random_state=seed,
    ).fit(trained, labels)  # fmt: skip
    return denoiser.predict_proba(prior.transform(recorded[len(texts) :]))


@torch.no_grad()
def _look(networks, tokens, batch_size):
    """Embeddings and probabilities of all texts by all branches."""
    n_texts = len(tokens["input_ids"])
    seen = [], []
    for network in networks:
        network.eval()
    for part in gen_batches(n_texts, batch_size):
        inputs = {key: value[part] for key, value in tokens.items()}
        found = [network(inputs) for network in networks]
        seen[0].append(torch.stack([embedding for embedding, _ in found], 1).numpy())
        seen[1].append(torch.stack([p.softmax(-1) for _, p in found], 1).numpy())
    return np.concatenate(seen[0]), np.concatenate(seen[1])
