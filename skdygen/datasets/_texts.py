"""A small corpus made at run time: messages of customers to a shop."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from .._sklearn_compat import Interval, validate_params

_WORDS = {
    "item": "lamp|coffee machine|desk chair|headphones|rain jacket|keyboard|backpack|"
    "bicycle light|blender|tent|monitor|running shoes|phone case|kettle|toaster",
    "person": "I|my sister|my neighbour|our office|my partner|a colleague",
    "when": "yesterday|last week|on Monday|two days ago|this morning|in March|"
    "a month ago",
    "greeting": "Hello,|Hi there,|Good morning,|Dear team,|To whom it may concern,|"
    "Hey,|",
    "thanks": "Thanks.|Many thanks!|Please help.|Kind regards.|What should I do?|"
    "I look forward to hearing from you.|Please reply soon.|",
    "amount": "12 euros|80 dollars|35 pounds|199 euros|a few cents|the whole price",
    "place": "the website|the app|your page|the checkout|the customer area",
}

# What a message is about. Classes share their nouns: what tells them apart is what
# has happened, or what is asked for.
_CORES = {
    "account": "I cannot log in since I changed my address|"
    "the password link for the {item} order never opens the right page|"
    "please change the email under which {person} ordered the {item}|"
    "how do I delete the profile that {person} made {when}|"
    "{place} says that my user name is unknown|"
    "someone else seems to have signed in with my name {when}|"
    "I need two people to see the same orders under one login|"
    "please merge the two profiles that {person} opened by mistake",
    "billing": "I was charged {amount} twice for the {item}|"
    "the invoice for the {item} shows the wrong address|"
    "my card was declined although {amount} had left my bank {when}|"
    "please send me a receipt for the {item} that {person} paid for {when}|"
    "the discount code was not taken off when {person} paid for the {item}|"
    "why is there a fee of {amount} on top of the {item}|"
    "can {person} pay for the {item} in three instalments|"
    "the amount on the invoice is not the one on {place}",
    "delivery": "the {item} that {person} ordered {when} has not arrived|"
    "the parcel with the {item} was left at the wrong address|"
    "when will the {item} be shipped|"
    "the courier rang {when} but took the {item} away again|"
    "tracking has shown no movement of the {item} since it left {when}|"
    "can the {item} be brought to my office instead of my home|"
    "only half of the order came {when}; the {item} is still on its way|"
    "is it possible to get the {item} before the weekend",
    "product": "does the {item} also come in green|"
    "what is the difference between the two kinds of {item} on {place}|"
    "is the {item} suitable for children|"
    "how heavy is the {item} and does it fit in a small car|"
    "will the {item} be in stock again soon|"
    "which {item} would you recommend to {person}|"
    "is the {item} made of leather or of plastic|"
    "do you also sell spare parts for the {item}",
    "returns": "I want to send the {item} back and get my {amount} again|"
    "the {item} does not fit; how do I swap it for another size|"
    "which label do I put on the parcel with the {item} that goes back to you|"
    "{person} changed {person_his} mind about the {item} ordered {when}|"
    "you received the {item} back {when} but I have not seen my money|"
    "how many days do I have to return the {item}|"
    "can I hand the {item} back in one of your shops|"
    "I would like a refund for the {item}, it is not what {person} wanted",
    "technical": "the {item} does not turn on any more|"
    "the {item} makes a strange noise since {when}|"
    "{place} crashes whenever {person} opens the {item} page|"
    "how do I connect the {item} to my phone|"
    "one part of the {item} broke {when} after an hour of use|"
    "the {item} gets very hot; is that normal|"
    "the manual of the {item} does not explain what the red light means|"
    "the battery of the {item} is empty after ten minutes",
}

# True of any message, with words that belong to other classes.
_ASIDES = (
    "I have already looked at the invoice.|The parcel looked fine.|I paid by card.|"
    "My login works.|I do not want to send it back.|"
    "The delivery was quick, by the way.|It was ordered on {place} {when}.|"
    "Nobody answers the phone.|I have the receipt and the order number here.|"
    "It was a present.|It cost {amount}.|I use it every day.|"
    "I have turned it off and on again.|"
    "I wrote to you {when} about a refund for something else.|"
    "My address and password are unchanged.|The colour is nice.|||"
)

# About one message in four also tells of a matter of another class that is closed, so
# that the words alone do not say what the message is about.
_CLOSED = (
    "Last time it was about something else, {matter}, but that is settled.|"
    "You have already solved my other question: {matter}.|"
    "Please ignore my earlier message ({matter}), it is done.|"
    "This has nothing to do with the old case where {matter}."
)
_SHARE_WITH_CLOSED_MATTER = 0.25


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_texts(n_samples=600, *, random_state=None):
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
    labels = rng.permutation(np.resize(list(_CORES), n_samples))
    return [_message(label, rng) for label in labels], labels


def _message(label, rng):
    """Make one message about the matter of a class."""
    greeting, thanks = _pick(_WORDS["greeting"], rng), _pick(_WORDS["thanks"], rng)
    core = _fill(_CORES[label], rng)
    core = core[0].upper() + core[1:] + "."
    if rng.rand() < _SHARE_WITH_CLOSED_MATTER:
        other = rng.choice([name for name in _CORES if name != label])
        matter = _fill(_CORES[other], rng)
        aside = _pick(_CLOSED, rng).format(matter=matter)
    else:
        aside = _fill(_ASIDES, rng)
    middle = [core, aside] if rng.rand() < 0.5 else [aside, core]
    return " ".join(part for part in (greeting, *middle, thanks) if part)


def _fill(templates, rng):
    """Pick one of the templates and put words into it."""
    template = _pick(templates, rng)
    words = {name: _pick(choices, rng) for name, choices in _WORDS.items()}
    words["person_his"] = "my" if words["person"] == "I" else "their"
    return template.format(**words)


def _pick(choices, rng):
    """Pick one of what lies between the bars."""
    choices = choices.split("|")
    return choices[rng.randint(len(choices))]
