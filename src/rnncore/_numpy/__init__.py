"""The definition: every result of rnncore, written to be read.

The other two columns (``_numba`` and ``cpp/``) hold the same files with the same functions in the same
order, and return the same bits. Only + - * /, :func:`fma.fma` and operations on bits are used where a
result is rounded: no BLAS, no ``np.exp``, no ``np.sum``, whose order and rounding no one promises.
"""
