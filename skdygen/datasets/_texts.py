"""A small corpus made at run time: messages of customers to a shop."""

from __future__ import annotations

import json
from importlib import resources
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from .._sklearn_compat import Interval, validate_params

# Words for the places of the templates; what a message of each class is about; true
# asides with words that belong to other classes; and ways to name a closed matter.
_MESSAGES = json.loads(
    resources.files(__package__).joinpath("data/messages.json").read_text("utf-8")
)
_SHARE_WITH_CLOSED_MATTER = 0.25


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_texts(
    n_samples: int = 600, *, random_state: int | np.random.RandomState | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Make short messages of customers and what each is about.

    The messages come from a small grammar. All classes use the same nouns, asides
    mention what other classes are about, and one message in four names a closed matter
    of another class: counting words is not enough.

    Parameters
    ----------
    n_samples : int, default=600
        Number of messages.
    random_state : int, RandomState instance or None, default=None
        Determines the messages.

    Returns
    -------
    texts : list of str of length n_samples
        The messages.
    labels : ndarray of shape (n_samples,)
        "account", "billing", "delivery", "product", "returns" or "technical"; all
        equally frequent, up to one.

    Examples
    --------
    >>> from skdygen.datasets import make_texts
    >>> texts, labels = make_texts(2, random_state=0)
    >>> len(texts), sorted(labels.tolist())
    (2, ['account', 'billing'])
    """
    rng = check_random_state(random_state)
    labels = rng.permutation(np.resize(list(_MESSAGES["matters"]), n_samples))
    return [_message(label, rng) for label in labels], labels


def _message(label, rng):
    """Make one message about the matter of a class."""
    words, matters = _MESSAGES["words"], _MESSAGES["matters"]
    greeting, thanks = _pick(words["greeting"], rng), _pick(words["thanks"], rng)
    core = _fill(matters[label], rng)
    core = core[0].upper() + core[1:] + "."
    if rng.rand() < _SHARE_WITH_CLOSED_MATTER:
        other = rng.choice([name for name in matters if name != label])
        matter = _fill(matters[other], rng)
        aside = _pick(_MESSAGES["closed_matters"], rng).format(matter=matter)
    else:
        aside = _fill(_MESSAGES["asides"], rng)
    middle = [core, aside] if rng.rand() < 0.5 else [aside, core]
    return " ".join(part for part in (greeting, *middle, thanks) if part)


def _fill(templates, rng):
    """Pick one of the templates and put words into it."""
    template = _pick(templates, rng)
    words = {name: _pick(choices, rng) for name, choices in _MESSAGES["words"].items()}
    words["person_his"] = "my" if words["person"] == "I" else "their"
    return template.format(**words)


def _pick(choices, rng):
    """Pick one of a list."""
    return choices[rng.randint(len(choices))]
