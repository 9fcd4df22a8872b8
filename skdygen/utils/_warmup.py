"""When the branches begin to be pulled together."""


def warmup_epochs(warmup, n_epochs):
    """Return the number of epochs without co-regularisation.

    Parameters
    ----------
    warmup : float
        Share of the epochs.
    n_epochs : int
        Number of epochs.

    Returns
    -------
    n_warmup_epochs : int
        At least one, unless `warmup` is 0.
    """
    return max(1, round(warmup * n_epochs)) if warmup else 0
