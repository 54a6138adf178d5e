"""Convolutional sparse coding over filters that are given."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .._check import FloatArray
from ..inference.csc import alpha_of_filters
from ._convolutional import ConvolutionalTransformer, check_filters, masks_of


class ConvolutionalSparseCoder(ConvolutionalTransformer):
    r"""Sparse code maps of whole images (or signals) over a fixed bank of filters.

    For every image y, with an optional mask or weight M,

    .. math:: \min_z \tfrac12 \lVert M (y - \textstyle\sum_k f_k * z_k) \rVert^2
              + \sum_k \alpha_k \lVert z_k \rVert_1

    and every image stops by its own duality gap.

    Parameters
    ----------
    dictionary : array-like of shape (n_filters, channels, height, width)
        The filters, of any norms; (n_filters, channels, length) for signals.
    alpha : float or array-like of shape (n_filters,), default=0.1
        Weight of the penalty, > 0, in the images' units.
    boundary : {"valid", "same", "full", "circular"}, default="valid"
        How atoms meet the border; the code maps of an image of height H and filters of height h have height
        H + h - 1, H, H - h + 1 or H; see :class:`thalweg.inference.csc.ConvolutionalLassoSolver`.
    positive_code : bool, default=False
        Codes >= 0.
    solver : {"auto", "active_set", "fista"}, default="auto"
        The method; "auto" is "active_set", and "fista" on the GPU, which has kernels for that alone.
    max_iter : int, default=500
        Most iterations of an image.
    tol : float, default=1e-3
        An image is done when its duality gap is at most tol * 1/2 ||M y||^2.
    device : {"cpu", "cuda"}, default="cpu"
        Where to compute. With "cuda" images may be arrays in the memory of the GPU (PyTorch's, CuPy's, or any
        that speak DLPack): dense codes are then arrays of the same library, and nothing travels but masks.
    n_jobs : int, default=None
        Threads; None stands for OpenMP's number. The codes are the same bits for any number.

    See Also
    --------
    ConvolutionalDictionaryLearning : Learns the filters.
    SparseCoder : Sparse codes of rows.

    References
    ----------
    M. D. Zeiler, D. Krishnan, G. W. Taylor, R. Fergus, Deconvolutional networks, CVPR 2010. B. Wohlberg,
    Efficient algorithms for convolutional sparse representations, IEEE Trans. Image Process. 25, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import ConvolutionalSparseCoder
    >>> image = np.zeros((6, 6))
    >>> image[2:4, 2:4] = 2.0
    >>> coder = ConvolutionalSparseCoder(np.ones((1, 1, 2, 2)) / 2, alpha=0.5, boundary="full")
    >>> codes = coder.transform(image[None])
    >>> codes.shape, codes[0, 0, 2, 2]
    ((1, 1, 5, 5), np.float64(3.5))
    >>> coder.inverse_transform(codes)[0, 0, 2]
    array([0.  , 0.  , 1.75, 1.75, 0.  , 0.  ])
    """

    _filters_name = "dictionary"
    _transform_prefix = ""

    def __init__(
        self,
        dictionary: Any,
        *,
        alpha: Any = 0.1,
        boundary: str = "valid",
        positive_code: bool = False,
        solver: str = "auto",
        max_iter: int = 500,
        tol: float = 1e-3,
        device: str = "cpu",
        n_jobs: int | None = None,
    ) -> None:
        self.dictionary = dictionary
        self.alpha = alpha
        self.boundary = boundary
        self.positive_code = positive_code
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, mask: Any = None) -> ConvolutionalSparseCoder:
        """Only checks the parameters and the kind of X: there is nothing to learn.

        Parameters
        ----------
        X : array-like of shape (n, channels, height, width) or (n, height, width), or list of images
        y : ignored
        mask : as for `transform`

        Returns
        -------
        self : ConvolutionalSparseCoder

        Raises
        ------
        TypeError, ValueError
            Where X, the dictionary or a parameter is of the wrong kind, shape or range.
        """
        self._check_coding_parameters()
        images, layout = self._images(X, mask)
        masks_of(mask, images, layout)
        alpha_of_filters(self.alpha, self._filters_in(images[0].dtype))
        return self

    def _filters(self) -> FloatArray:
        return check_filters(self.dictionary, "dictionary")

    def _transform_settings(self) -> tuple[Any, float, int]:
        return self.alpha, self.tol, self.max_iter

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        return {}, {}

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        """There is no state: the filters are a parameter."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
