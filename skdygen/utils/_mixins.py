"""Small abilities that several estimators share."""

import re

import numpy as np
import sklearn
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted


class TextInputMixin:
    """Tells scikit-learn that `X` is a collection of texts, with a label each."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags


class VersionedMixin:
    """Has versions in its state.

    A cache of another version is not used, and a pickle of a newer scikit-learn is
    refused: what is in it need not have what this one asks for.
    """

    def __getstate__(self):
        from .. import __version__

        versions = {"skdygen": __version__, "scikit-learn": sklearn.__version__}
        return {**super().__getstate__(), "_versions": versions}

    def __setstate__(self, state):
        state = dict(state)
        versions = state.pop("_versions", {})
        check_sklearn_version(versions.get("scikit-learn"), type(self).__name__)
        super().__setstate__(state)


def check_sklearn_version(version, what):
    """Raise a clear error if something was saved with a newer scikit-learn.

    What an older one has saved is read, and scikit-learn warns of it.

    Parameters
    ----------
    version : str or None
        The version that it was saved with, if that is known.
    what : str
        What was saved, for the message.

    Raises
    ------
    ValueError
        If the version is newer than this one, but for its last number.
    """
    if version is None:
        return
    saved, here = (
        tuple(map(int, re.findall(r"\d+", text)[:2]))
        for text in (version, sklearn.__version__)
    )
    if saved > here:
        raise ValueError(
            f"{what} was saved with scikit-learn {version}, and here is "
            f"{sklearn.__version__}: update scikit-learn to read it."
        )


class FrameOutputMixin:
    """Lets `set_output` make frames of flattened trajectories."""

    def get_feature_names_out(self, input_features=None):
        """Name the columns of the flattened embeddings.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        names : ndarray of shape (n_branches * n_epochs * n_features,)
            Such as "branch0_epoch1_feature17", all counted from 0; epochs among those
            that are recorded.
        """
        check_is_fitted(self)
        names = [
            f"branch{branch}_epoch{epoch}_feature{feature}"
            for branch, epoch, feature in np.ndindex(self.trajectory_shape_)
        ]
        return np.array(names, dtype=object)

    def _give(self, trajectories):
        """Give what scikit-learn can make a frame of, if it is to make one."""
        wanted = _get_output_config("transform", self)["dense"]
        return trajectories if wanted == "default" else np.asarray(trajectories)
