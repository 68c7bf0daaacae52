"""Backpropagation through time, written out literally: the double sum of the derivation, in 50 digits.

One sequence x_1 .. x_T with labels l_1 .. l_T (distributions; a row of zeros where a step has no loss), and
where wanted a linear loss of the user's own, with factors dh_1 .. dh_T and dstate:

    s_t = cell(x_t, s_{t-1})
    y_t = b_y + W_hy h_t                        p_t = softmax(y_t)
    J_t = -sum_v l_tv log p_tv + dh_t . h_t     J = sum_t J_t + dstate . s_T

The state s_t is h_t, and for the cell lstm h_t above c_t. The cells, elementwise but for the products W x,
with S = sigmoid and the rows of W_xh, W_hh, b_x, b_h belonging to the gates in this order:

    rnn         h_t = tanh(z_t)        z_t = b_h + W_xh x_t + W_hh h_{t-1}
    rnn_relu    h_t = max(z_t, 0)      z_t likewise
    lstm        c_t = f c_{t-1} + i g  h_t = o tanh(c_t)
                i, f, g, o = S(z_i), S(z_f), tanh(z_g), S(z_o)   z = b_h + W_xh x_t + W_hh h_{t-1}
    gru         h_t = (1 - z) n + z h_{t-1}
                r, z, n = S(a_r + u_r), S(a_z + u_z), tanh(a_n + r u_n)
                a = b_x + W_xh x_t     u = b_h + W_hh h_{t-1}
    gru_reset_before   likewise, but n = tanh(a_n + u_n) with u_n = b_n + W_n (r h_{t-1})

Sources: Hochreiter, Schmidhuber 1997, "Long short-term memory", and Gers, Schmidhuber, Cummins 2000, "Learning to
forget", for its gate f; Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical
machine translation", for gru_reset_before, but for its biases (in Chung et al. 2014, "Empirical evaluation of gated
recurrent neural networks on sequence modeling", z and 1 - z stand the other way round); the reset after the product,
with a bias inside, is the GRU of cuDNN and PyTorch.

J_t depends on s_k, k <= t, through every step between, each with a Jacobian:

    ds_t/ds_k = prod_{j = t .. k+1} ds_j/ds_{j-1}

and on W_hh through every s_k, k <= t, hence the double sum

    dJ/dW_hh = sum_t sum_{k <= t} dJ_t/ds_t . ds_t/ds_k . ds_k/du_k . du_k/dW_hh.

Nothing is shared between two terms: no running sum, no shortcut, no order of additions to get right. That
makes it slow, O(T^3 H^3), and worth believing. Step t is index t, so index 0 is unused but in s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import mpmath
import numpy as np
import numpy.typing as npt

DIGITS = 50
Exact: TypeAlias = npt.NDArray[Any]
"""An array of mpmath numbers."""
Weights: TypeAlias = dict[str, Exact]
"""Parameters, or the gradients by them, by name."""


@dataclass
class Step:
    """A step of a cell of G gates: its state of N numbers and its Jacobians.

    by_a and by_u are by what the gates take from the input, a = W_xh x_t with its bias, and from the state before,
    u = W_hh h_{t-1} with its own. read is what the rows of W_hh of each gate are multiplied with.
    """

    state: Exact  # s_t (N,)
    by_state: Exact  # ds_t/ds_{t-1} (N, N)
    by_a: Exact  # ds_t/da_t (N, G*H)
    by_u: Exact  # ds_t/du_t (N, G*H)
    read: list[Exact]  # G of (H,)


@dataclass
class OneSequence:
    """One sequence and its loss; x[0], labels[0] and dh[0] are not read."""

    x: Sequence[Exact]
    labels: Sequence[Exact]
    dh: Sequence[Exact]
    s_0: Exact
    dstate: Exact


@dataclass
class Gradients:
    """What ``differentiate`` returns: J, dJ by the weights, by s_0 and by x_1 .. x_T."""

    J: Any
    weights: Weights
    ds_0: Exact
    dx: list[Exact]


def exact(array: npt.ArrayLike) -> Exact:
    """The same numbers in mpmath: a float is a rational number, nothing is rounded."""
    floats = np.asarray(array, np.float64)
    numbers = np.empty(floats.shape, object)
    numbers.flat = [mpmath.mpf(float(number)) for number in floats.flat]
    return numbers


def zeros(*shape: int) -> Exact:
    return exact(np.zeros(shape))


def diag(v: Exact) -> Exact:
    return exact(np.eye(len(v))) * v


def tanh(z: Exact) -> Exact:
    return np.array([mpmath.tanh(element) for element in z], object)


def sigmoid(z: Exact) -> Exact:
    return np.array([1 / (1 + mpmath.exp(-element)) for element in z], object)


def softmax(y: Exact) -> Exact:
    e = np.array([mpmath.exp(element) for element in y], object)
    return e / e.sum()


def cost(label: Exact, p: Exact) -> Any:
    """-sum_v l_v log p_v."""
    return -sum(l_v * mpmath.log(p_v) for l_v, p_v in zip(label, p, strict=True) if l_v != 0)


def rnn(w: Weights, x: Exact, s: Exact) -> Step:
    h_prev = s
    h = tanh(w["b_h"] + w["W_xh"] @ x + w["W_hh"] @ h_prev)
    dh_dz = diag(1 - h**2)
    return Step(h, dh_dz @ w["W_hh"], dh_dz, dh_dz, [h_prev])


def rnn_relu(w: Weights, x: Exact, s: Exact) -> Step:
    h_prev = s
    z = w["b_h"] + w["W_xh"] @ x + w["W_hh"] @ h_prev
    on = exact(z > 0)
    dh_dz = diag(on)
    return Step(z * on, dh_dz @ w["W_hh"], dh_dz, dh_dz, [h_prev])


def lstm(w: Weights, x: Exact, s: Exact) -> Step:
    h_prev, c_prev = np.split(s, 2)
    z_i, z_f, z_g, z_o = np.split(w["b_h"] + w["W_xh"] @ x + w["W_hh"] @ h_prev, 4)
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), tanh(z_g), sigmoid(z_o)
    c = f * c_prev + i * g
    h = o * tanh(c)

    none = zeros(len(h), len(h))
    di_dz, df_dz, dg_dz, do_dz = diag(i * (1 - i)), diag(f * (1 - f)), diag(1 - g**2), diag(o * (1 - o))
    dc_dz = np.hstack([diag(g) @ di_dz, diag(c_prev) @ df_dz, diag(i) @ dg_dz, none])
    dh_dc = diag(o) @ diag(1 - tanh(c) ** 2)
    dh_dz = dh_dc @ dc_dz + np.hstack([none, none, none, diag(tanh(c)) @ do_dz])
    dc_dc_prev = diag(f)
    ds_dz = np.vstack([dh_dz, dc_dz])
    ds_ds_prev = np.block([[dh_dz @ w["W_hh"], dh_dc @ dc_dc_prev], [dc_dz @ w["W_hh"], dc_dc_prev]])
    return Step(np.concatenate([h, c]), ds_ds_prev, ds_dz, ds_dz, [h_prev] * 4)


def gru(w: Weights, x: Exact, s: Exact) -> Step:
    h_prev = s
    a_r, a_z, a_n = np.split(w["b_x"] + w["W_xh"] @ x, 3)
    u_r, u_z, u_n = np.split(w["b_h"] + w["W_hh"] @ h_prev, 3)
    r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
    n = tanh(a_n + r * u_n)
    h = (1 - z) * n + z * h_prev

    dh_da_n = diag(1 - z) @ diag(1 - n**2)
    dh_du_n = dh_da_n @ diag(r)
    dh_du_z = diag(h_prev - n) @ diag(z * (1 - z))
    dh_du_r = dh_da_n @ diag(u_n) @ diag(r * (1 - r))
    by_a = np.hstack([dh_du_r, dh_du_z, dh_da_n])
    by_u = np.hstack([dh_du_r, dh_du_z, dh_du_n])
    return Step(h, by_u @ w["W_hh"] + diag(z), by_a, by_u, [h_prev] * 3)


def gru_reset_before(w: Weights, x: Exact, s: Exact) -> Step:
    h_prev = s
    W_r, W_z, W_n = np.split(w["W_hh"], 3)
    b_r, b_z, b_n = np.split(w["b_h"], 3)
    a_r, a_z, a_n = np.split(w["b_x"] + w["W_xh"] @ x, 3)
    r, z = sigmoid(a_r + b_r + W_r @ h_prev), sigmoid(a_z + b_z + W_z @ h_prev)
    q = r * h_prev
    n = tanh(a_n + b_n + W_n @ q)
    h = (1 - z) * n + z * h_prev

    dh_du_n = diag(1 - z) @ diag(1 - n**2)
    dh_dq = dh_du_n @ W_n
    dh_du_z = diag(h_prev - n) @ diag(z * (1 - z))
    dh_du_r = dh_dq @ diag(h_prev) @ diag(r * (1 - r))
    by_u = np.hstack([dh_du_r, dh_du_z, dh_du_n])
    by_h_prev = dh_du_r @ W_r + dh_du_z @ W_z + dh_dq @ diag(r) + diag(z)
    return Step(h, by_h_prev, by_u, by_u, [h_prev, h_prev, q])


STEPS = {"rnn": rnn, "rnn_relu": rnn_relu, "lstm": lstm, "gru": gru, "gru_reset_before": gru_reset_before}


def run(cell: str, w: Weights, q: OneSequence) -> list[Step]:
    """Steps 0, 1, .., T; the 0th has a state alone."""
    steps = [Step(q.s_0, *(zeros(0),) * 3, [])]
    for t in range(1, len(q.x)):
        steps.append(STEPS[cell](w, q.x[t], steps[t - 1].state))
    return steps


def ds_ds(steps: Sequence[Step], t: int, k: int) -> Exact:
    """ds_t/ds_k = prod_{j = t .. k+1} ds_j/ds_{j-1}, (N, N)."""
    jacobians = [steps[j].by_state for j in range(t, k, -1)]
    return reduce(np.matmul, jacobians) if jacobians else exact(np.eye(len(steps[t].state)))


def loss(cell: str, w: Weights, q: OneSequence) -> Any:
    """J of one sequence."""
    H, s = w["W_hh"].shape[1], [step.state for step in run(cell, w, q)]
    J = q.dstate @ s[-1]
    for t in range(1, len(s)):
        h_t = s[t][:H]
        J += cost(q.labels[t], softmax(w["b_y"] + w["W_hy"] @ h_t)) + q.dh[t] @ h_t
    return J


def differentiate(cell: str, w: Weights, q: OneSequence) -> Gradients:
    """J and its gradients for one sequence."""
    H, steps = w["W_hh"].shape[1], run(cell, w, q)
    T = len(steps) - 1
    d = {name: zeros(*array.shape) for name, array in w.items()}
    ds_0, dx = zeros(*q.s_0.shape), [zeros(*x_t.shape) for x_t in q.x]
    for t in range(1, T + 1):
        h_t = steps[t].state[:H]
        dJ_ds = zeros(*q.s_0.shape)  # dJ_t/ds_t, of which h_t is the beginning
        dJ_ds[:H] += q.dh[t]
        if t == T:
            dJ_ds += q.dstate
        if q.labels[t].any():
            dJ_dy = softmax(w["b_y"] + w["W_hy"] @ h_t) - q.labels[t]  # dJ_t/dy_t
            d["W_hy"] += np.outer(dJ_dy, h_t)
            d["b_y"] += dJ_dy
            dJ_ds[:H] += dJ_dy @ w["W_hy"]
        if not dJ_ds.any():
            continue  # this step has no J_t

        for k in range(1, t + 1):
            dJ_ds_k = dJ_ds @ ds_ds(steps, t, k)  # dJ_t/ds_t . ds_t/ds_k
            dJ_da, dJ_du = dJ_ds_k @ steps[k].by_a, dJ_ds_k @ steps[k].by_u
            gates = zip(np.split(dJ_du, len(steps[k].read)), steps[k].read, strict=True)
            d["W_hh"] += np.vstack([np.outer(dJ_du_gate, read) for dJ_du_gate, read in gates])
            d["W_xh"] += np.outer(dJ_da, q.x[k])
            d["b_h"] += dJ_du
            if "b_x" in d:
                d["b_x"] += dJ_da
            dx[k] += dJ_da @ w["W_xh"]
        ds_0 += dJ_ds @ ds_ds(steps, t, 0)
    return Gradients(loss(cell, w, q), d, ds_0, dx)


def differentiate_layers(net: Any, last: bool = False) -> dict[str, Exact]:
    """The gradients of a full grid of a net of several layers and directions, by the names of results.

    Each layer in each direction is a net by itself, differentiated by the double sum. The reverse direction is one on
    the sequence turned round. A layer is told dJ by what it gives: by the outputs, or by what the layer above says of
    its inputs; J_t is then dh_t . h_t, which has the same derivatives. last: the outputs read the last states alone.
    """
    with mpmath.workdps(DIGITS):
        params, B = net.params, net.inputs.shape[1]
        found = [_differentiate_sequence(net, b, last) for b in range(B)]
        arrays = {name: sum(one[0][name] for one in found) for name in params.names()}
        states = [np.stack([one[1][s] for one in found], axis=1) for s in range(len(found[0][1]))]
        letters = "h", "c"
        named = {"dstate" if len(states) == 1 else f"dstate {letters[s]}": array for s, array in enumerate(states)}
        return arrays | named | {"dinputs": np.stack([one[2] for one in found], axis=1)}


def _differentiate_sequence(net: Any, b: int, last: bool) -> tuple[Weights, list[Exact], Exact]:
    """dJ by the weights, by the initial states, each (parts, H), and by the inputs (T, X), of one sequence."""
    params, T = net.params, len(net.inputs)
    L, D, H = len(params.layers), 1 + params.bidirectional, params.hidden
    states = net.state if isinstance(net.state, tuple) else (net.state,)
    dstates = net.dstate if isinstance(net.dstate, tuple) else (net.dstate,)
    ways = [layer if params.bidirectional else (layer,) for layer in params.layers]
    weights = [[{name: exact(getattr(way, name)) for name in way.names()} for way in layer] for layer in ways]
    s_0 = [exact(np.concatenate([state[part, b] for state in states])) for part in range(L * D)]
    dlast = [exact(np.concatenate([dstate[part, b] for dstate in dstates])) for part in range(L * D)]
    read, runs = exact(net.inputs[:, b]), []
    for n in range(L):
        if n > 0 and net.dropout_masks is not None:
            read = read * exact(net.dropout_masks[n - 1][:, b])
        of_layer = []
        for d in range(D):
            x = read[:: -1 if d else 1]
            w = weights[n][d] | {"W_hy": zeros(1, H), "b_y": zeros(1)}
            of_layer.append(
                (w, [zeros(0), *x], run(params.cell, w, OneSequence([zeros(0), *x], [], [], s_0[n * D + d], zeros(0))))
            )
        read = np.concatenate(
            [
                np.array([step.state[:H] for step in steps[1:]])[:: -1 if d else 1]
                for d, (_, _, steps) in enumerate(of_layer)
            ],
            axis=1,
        )
        runs.append(of_layer)
    W_hy, b_y, dh = exact(params.W_hy), exact(params.b_y), exact(net.dh[:, b])
    d: Weights = {"W_hy": zeros(*W_hy.shape), "b_y": zeros(*b_y.shape)}
    final = np.concatenate([steps[-1].state[:H] for _, _, steps in runs[-1]])
    for t in range(T):
        h_t = final if last else read[t]
        if last and t > 0:
            break
        dy = softmax(b_y + W_hy @ h_t) - exact(np.eye(len(b_y))[net.labels[t, b]])
        d["W_hy"] += np.outer(dy, h_t)
        d["b_y"] += dy
        if last:
            for way in range(D):
                dlast[(L - 1) * D + way][:H] += (dy @ W_hy)[way * H : (way + 1) * H]
        else:
            dh[t] += dy @ W_hy
    ds_0: list[Exact] = [zeros(0)] * (L * D)
    for n in reversed(range(L)):
        dread: Any = 0
        for way, (w, x, _) in enumerate(runs[n]):
            part, sign = n * D + way, -1 if way else 1
            own = dh[::sign, way * H : (way + 1) * H]
            none = [zeros(1)] * (T + 1)
            found = differentiate(params.cell, w, OneSequence(x, none, [zeros(0), *own], s_0[part], dlast[part]))
            prefix = "" if L * D == 1 else f"layers.{n}." + (("forward.", "reverse.")[way] if D > 1 else "")
            d |= {prefix + name: array for name, array in found.weights.items() if name not in ("W_hy", "b_y")}
            ds_0[part] = found.ds_0
            dread = dread + np.array(found.dx[1:])[::sign]
        dh = dread * exact(net.dropout_masks[n - 1][:, b]) if n > 0 and net.dropout_masks is not None else dread
    S = len(states)
    return d, [np.stack([np.split(s, S)[k] for s in ds_0]) for k in range(S)], dh
