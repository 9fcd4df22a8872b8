"""Methods of others that the package does not have."""

import math
import time
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
from cleanlab.classification import CleanLearning
from cleanlab.count import num_label_issues
from sklearn.utils import check_random_state, gen_batches
from torch.nn import functional
from transformers import get_linear_schedule_with_warmup

from skdygen._torch import autocast, find_device, seeded
from skdygen.denoisers import DirichletVAE
from skdygen.denoisers._vae import ConditionalVAE
from skdygen.dynamics import LanguageModelDynamics, _engine
from skdygen.dynamics._frozen import Backbone
from skdygen.dynamics._hub import load_sentence_transformer

from .embeddings import StoredDynamics
from .task import PLAIN, Fit

# Of SetFit, but for the number of steps, which takes a core about a minute, and for
# layers and length, as in the regime "short".
_N_PAIRS, _PAIRS_AT_ONCE, _MOST_STEPS, _LEARNING_RATE = 20, 16, 150, 2e-5
_STAGE = {"trainable_layers": 3, "max_length": 64}
_PIECES = 4  # of a batch, by length: less padding


class CoTeaching(StoredDynamics):
    """Two networks, each trained on the texts with the smallest loss of the other.

    Equations of Han et al., "Co-teaching", NeurIPS 2018; the share of texts that are
    left out rises to `forget_rate` in the first half of the epochs.
    """

    forget_rate = 0.0

    def _fit(self, X, targets, *, record):
        n_seen = 0

        def loss(logits, codes, weights, _):
            nonlocal n_seen
            epoch = n_seen // len(targets.labelled)
            n_seen += len(codes)
            rise = min(1.0, epoch / max(1, self.n_epochs // 2))
            return co_teaching_loss(logits, codes, weights, self.forget_rate * rise)

        with patch.object(_engine, "coregularized_loss", loss):
            return super()._fit(X, targets, record=record)


def co_teaching_loss(logits, codes, weights, forget_rate):
    """Loss of each network on the texts that the other finds easiest."""
    n_kept = math.ceil((1 - forget_rate) * len(codes))
    losses = torch.stack(
        [functional.cross_entropy(x, codes, reduction="none") for x in logits]
    )
    losses = weights * losses
    kept = losses.detach().flip(0).topk(n_kept, dim=1, largest=False).indices
    return losses.gather(1, kept).mean()


class ApproximateNetwork(ConditionalVAE):
    """Draws gamma variables by what their inverse distribution function is near 0.

    Joo et al., "Dirichlet Variational Autoencoder", 2020.
    """

    def draw(self, alpha):
        """Draw, and normalise."""
        log_gamma = (
            torch.rand_like(alpha).clamp(min=1e-6).log()
            + alpha.log()
            + torch.lgamma(alpha)
        ) / alpha
        return log_gamma.softmax(dim=-1)


class ApproximateVAE(DirichletVAE):
    """`DirichletVAE` with the approximate sample that published code has."""

    _network = ApproximateNetwork


class Contrastive:
    """Contrastive fine-tuning on pairs of few labelled texts.

    As in SetFit (Tunstall et al., "Efficient Few-Shot Learning Without Prompts", 2022).

    Parameters
    ----------
    texts : list of str of length n_samples
        All that are to be embedded.
    **params : dict
        Of `LanguageModelDynamics`.
    """

    def __init__(self, texts, **params):
        stage = LanguageModelDynamics(**_STAGE | params)
        model = load_sentence_transformer(stage.model, max_length=stage.max_length)
        stage = SimpleNamespace(**stage.get_params(), precision_="bf16")
        self.backbone = Backbone(model, stage, find_device("auto"))
        self.inputs = self.backbone.encode(texts)

    def embed(self, rows, codes, seed):
        """Train on some of the texts, and embed all, (n_samples, n_features)."""
        with seeded(seed):
            network = self.backbone.trained_part()
            self._train(network.train(), *draw_pairs(rows, codes, seed))
            embedded = np.empty((len(self.inputs), self.backbone.n_features))
            for part, output in self.backbone.infer(network.eval(), self.inputs):
                found = functional.normalize(output["sentence_embedding"].float())
                embedded[part] = found.cpu().numpy()
        return embedded

    def _train(self, network, pairs, alike):
        """Bring the cosines of pairs, (n_pairs, 2), to whether they are alike."""
        parameters = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=0.01)
        batches = [*gen_batches(len(pairs), _PAIRS_AT_ONCE)][:_MOST_STEPS]
        schedule = get_linear_schedule_with_warmup(
            optimizer, len(batches) // 10, len(batches)
        )
        for batch in batches:
            rows, positions = np.unique(pairs[batch], return_inverse=True)
            order = np.argsort(self.inputs.lengths[rows])
            pieces = np.array_split(order, min(_PIECES, len(order)))
            found = [self._embed(network, rows[piece]) for piece in pieces]
            found = torch.cat(found)[np.argsort(order)]
            first, second = found[positions.reshape(-1, 2).T]
            cosines = functional.cosine_similarity(first, second)
            wanted = torch.from_numpy(alike[batch]).to(cosines)
            loss = functional.mse_loss(cosines, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    def _embed(self, network, rows):
        """Embed some texts."""
        with autocast("bf16", self.backbone.device):
            output = network(self.inputs.batch(rows, self.backbone.device))
        return output["sentence_embedding"].float()


def draw_pairs(rows, codes, seed):
    """Draw for each text others of its class, and as many of others.

    Returns pairs of rows in random order, (n_pairs, 2), and whether they are alike,
    (n_pairs,). A text that is alone in its class has pairs of the second kind only.
    """
    rng = check_random_state(seed)
    pairs, alike = [], []
    for row, code in zip(rows, codes, strict=True):
        for is_alike in (True, False):
            others = rows[((codes == code) == is_alike) & (rows != row)]
            if len(others):
                drawn = rng.choice(others, _N_PAIRS)
                pairs.append(np.column_stack([np.full(_N_PAIRS, row), drawn]))
                alike.append(np.full(_N_PAIRS, is_alike))
    pairs, alike = np.concatenate(pairs), np.concatenate(alike)
    order = rng.permutation(len(pairs))
    return pairs[order], alike[order]


def fit_co_teaching(task):
    """Fit co-teaching, told the rate that cleanlab estimates from frozen embeddings."""
    codes = np.searchsorted(task.classes, task.train.given)
    rate = num_label_issues(codes, task.out_of_fold) / len(codes)
    return task.fit(_make_co_teaching, forget_rate=rate, coregularization=0.0)


def _make_co_teaching(forget_rate, **params):
    dynamics = CoTeaching(n_branches=2, **params)
    dynamics.forget_rate = forget_rate
    return dynamics


def fit_cleanlab(task):
    """Fit the plain model on what cleanlab leaves.

    In the regime "frozen" all is cleanlab's own procedure, five folds of the model
    itself; in the other its held-out probabilities come from frozen embeddings.

    Returns
    -------
    fit : Fit
        Of the model fitted last.
    issues : DataFrame
        What `CleanLearning.find_label_issues` gives.
    """
    params = task.settings["dynamics"] | {"random_state": task.seed} | PLAIN
    probabilities = None if task.regime == "frozen" else task.out_of_fold
    return task.keep(
        ["cleanlab", params], lambda: _fit_cleanlab(task.splits, probabilities, params)
    )


def _fit_cleanlab(splits, probabilities, params):
    train = splits["train"]
    classes, codes = np.unique(train.given, return_inverse=True)
    # A column: where a fold lacks a class cleanlab stacks rows, as of a matrix.
    texts = np.array(train.texts, dtype=object)[:, None]
    start = time.perf_counter()
    seed = params["random_state"]
    state = np.random.get_state()
    with seeded(seed):  # cleanlab seeds the global states of torch and numpy
        learning = CleanLearning(StoredDynamics(**params), seed=seed, verbose=False)
        issues = learning.find_label_issues(texts, codes, pred_probs=probabilities)
        learning.fit(texts, codes, label_issues=issues)
    np.random.set_state(state)
    seconds = time.perf_counter() - start
    model = learning.clf
    predicted = {}
    for part in ("development", "test"):
        predicted[part] = np.zeros((len(splits[part]), len(classes)))
        found = model.predict_proba(splits[part].texts)
        predicted[part][:, model.classes_] = found  # a class can be pruned away
    return Fit(classes, None, {}, predicted, seconds), issues
