"""The compiled part of generation on a CPU (the .cpp files beside), where it could be built: see `AVAILABLE`.

Without it everything runs all the same, by torch's own operations, and slower.
"""

import ctypes
import sysconfig
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .cores import crowded

SMALL = 2**20
"""Numbers that a core has norms, turns, gates, draws or copies of in less time than a thread sleeps where cores are short."""


class _Packed(ctypes.Structure):
    """Where packed heads [T, H, D] lie, and how many numbers it is from token to token and from head to head."""

    _fields_ = (("data", ctypes.c_void_p), ("token", ctypes.c_int64), ("head", ctypes.c_int64))


class _Shape(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("width", "heads", "groups", "size", "inner")),
        ("eps", ctypes.c_float),
        ("scale", ctypes.c_float),
    )


class _Layer(ctypes.Structure):
    """Where a layer's tensors lie, see body.cpp."""

    _fields_ = tuple(
        (name, ctypes.c_void_p) for name in ("into", "out", "gates", "down", "before", "between", "bias", "query_norm", "key_norm")
    )


VERSION = 8
"""Of the functions in the .cpp files."""


def load(path: Path) -> ctypes.CDLL | None:
    """The library at a path. None where there is none, as no compiler was there, and with a warning where it cannot be used: it was built
    from other versions of its sources, or torch brings no OpenMP of the compiler's kind.
    """
    if not path.is_file():
        return None
    try:
        library = ctypes.CDLL(str(path))
        if library.version() != VERSION:
            raise OSError("it was built from other versions of its sources; install the package again (make install)")
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        flag = ctypes.c_int
        library.attend.argtypes = (*[_Packed] * 4, pointer, number, pointer, number, pointer, flag, *[number] * 7, ctypes.c_float, flag)
        library.pack.argtypes = (pointer, number, number, flag, pointer, flag)
        where = (pointer, number, pointer, number, pointer, number, pointer, pointer)
        library.body.argtypes = (pointer, pointer, number, flag, pointer, number, *where, pointer, number, pointer, pointer, flag)
        library.linear.argtypes = (pointer, number, number, pointer, number, flag, pointer, pointer, flag)
        library.copy.argtypes = (*[pointer] * 4, number, number, ctypes.c_int)
        library.norm.argtypes = (*[pointer] * 3, number, number, ctypes.c_float, ctypes.c_int)
        library.rotate.argtypes = (_Packed, _Packed, pointer, pointer, *[number] * 3, ctypes.c_int)
        library.gate.argtypes = (*[pointer] * 3, number, ctypes.c_int)
        library.draw.argtypes = (pointer, pointer, number, number, ctypes.c_float, *[pointer] * 3, ctypes.c_int)
    except (OSError, AttributeError) as error:
        warnings.warn(f"generation on the CPU goes without {path.name} and is slower: {error}", RuntimeWarning, stacklevel=2)
        return None
    return library


_compiled = load(Path(__file__).with_name(f"_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"))
AVAILABLE = _compiled is not None
BLOCK = 16
"""Positions in a block that `attend` reads."""

PLAIN, WIDENED, PAIRED, TILED = range(4)
"""How products are computed: in float32; in bfloat16 by float32 instructions, by AVX512_BF16, by AMX_BF16."""


def instructions() -> int:
    """The best way of bfloat16 products that this processor has."""
    return _compiled.instructions() if _compiled is not None else WIDENED


def can_attend(*parts: Tensor) -> bool:
    """Whether `attend` takes queries, keys and values of these kinds: float32 on a CPU, heads of 16, 32, ... 256."""
    return all(can_take(x) and x.shape[-1] <= 256 for x in parts)


def can_take(*tensors: Tensor) -> bool:
    """Whether norms, turns and gates take tensors like these: float32 on a CPU, with a last dimension of 16, 32, 48 ..."""
    return AVAILABLE and all(x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[-1] % 16 == 0 for x in tensors)


def _check(*tensors: Tensor, dtype: torch.dtype = torch.float32) -> None:
    """Raises TypeError for what the functions below would read as something else."""
    for x in tensors:
        if x.dtype != dtype or x.device.type != "cpu":
            raise TypeError(
                f"the compiled kernel takes {dtype} on a CPU, not {x.dtype} on {x.device}: was the model changed while it played?"
            )


def attend(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, rows: Tensor, tables: Tensor, data: Tensor, slot: int, window: int | None, scale: float
) -> None:
    """Writes new keys and values of all rows into their caches and lets each new token attend to its row up to itself, within a window of
    so many positions if one is given. q and out [T, Hq, D], k and v [T, H, D] of packed tokens.

    rows: int64 [rows, 4]: which line of `tables` says where the row is, position of its first new token, its packed place, how many tokens
    are new. tables: int64 [any, width]: the blocks of a row, in order. data: [blocks, X, H, BLOCK * D]; of X, 2 * slot holds keys, the next
    one values; float32, or bfloat16, to which keys and values are then rounded. Rows are distinct, as are the blocks that they write into.
    Raises MemoryError, and IndexError where a row has no room or a block is not in data, and TypeError for numbers of another kind.
    """
    assert _compiled is not None and out.stride(1) == out.shape[2] and data.is_contiguous()
    half = data.dtype == torch.bfloat16
    _check(q, k, v, out)
    _check(data, dtype=torch.bfloat16 if half else torch.float32)
    # A copy has to live until the call has returned.
    given = [x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v)]
    failed = _compiled.attend(
        *(_packed(x) for x in (*given, out)),
        rows.data_ptr(),
        len(rows),
        tables.data_ptr(),
        tables.shape[1],
        data.data_ptr(),
        half,
        len(data),
        data.shape[1],
        slot,
        k.shape[1],
        q.shape[1] // k.shape[1],
        q.shape[2],
        window or 0,
        scale,
        torch.get_num_threads(),
    )
    if failed:
        raise _error(failed)


def _error(failed: int) -> Exception:
    """What attention's number of an error means."""
    errors = {1: MemoryError("no memory for the activations of a pass"), 2: IndexError("a row has no room for its new tokens")}
    return errors.get(failed, IndexError("a row names a block that is not there"))


def _threads(numbers: int) -> int:
    """For work on so many numbers each of which has its own result, whoever computes it."""
    return 1 if numbers < SMALL and crowded.is_set() else torch.get_num_threads()


def _packed(x: Tensor) -> _Packed:
    assert x.stride(-1) == 1
    return _Packed(x.data_ptr(), x.stride(0), x.stride(1))


@dataclass(frozen=True)
class Panels:
    """Weights [outputs, inputs], rearranged for `linear`: see products.h. data: float32, or bfloat16, to which they are then rounded."""

    data: Tensor
    outputs: int
    inputs: int

    @property
    def way(self) -> int:
        """How products with them are computed."""
        return instructions() if self.data.dtype == torch.bfloat16 else PLAIN


def pack(weight: Tensor, dtype: torch.dtype) -> Panels:
    """Weights [outputs, inputs] for `linear`. dtype: float32 or bfloat16."""
    assert _compiled is not None
    weight = weight.detach()
    _check(weight)
    weight = weight.contiguous()
    (outputs, inputs), half = weight.shape, dtype == torch.bfloat16
    panels, width = -(-outputs // 32), -(-inputs // 32) * 32 if half else inputs
    data = torch.empty(panels, width, 32, dtype=dtype)
    _compiled.pack(weight.data_ptr(), outputs, inputs, half, data.data_ptr(), torch.get_num_threads())
    return Panels(data, outputs, inputs)


def linear(x: Tensor, weights: Panels, bias: Tensor | None = None) -> Tensor:
    """x [..., inputs] float32 times packed weights, plus bias [outputs] if there is one: float32 [..., outputs]. With bfloat16 weights x is
    rounded too; sums are those of float32. What a row of x gets does not depend on the others.
    """
    assert _compiled is not None and x.shape[-1] == weights.inputs
    _check(x, *(() if bias is None else (bias,)))
    x = x.contiguous()
    out = x.new_empty(*x.shape[:-1], weights.outputs)
    rows = x.numel() // weights.inputs
    where = None if bias is None else bias.data_ptr()
    failed = _compiled.linear(
        x.data_ptr(),
        rows,
        weights.inputs,
        weights.data.data_ptr(),
        weights.outputs,
        weights.way,
        where,
        out.data_ptr(),
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError("no memory for a product's activations")
    return out


@dataclass(frozen=True)
class Layers:
    """Layers for `body`. kept: tensors that they point into, of each layer in the order of its fields. dtype: of products and cache."""

    shape: _Shape
    layers: "ctypes.Array[_Layer]"
    kept: Sequence[Sequence[Tensor | None]]
    dtype: torch.dtype


def layers(shape: tuple[int, int, int, int, int], eps: float, scale: float, kept: Sequence[Sequence[Tensor | None]]) -> Layers:
    """Layers of a Llama. shape: width, heads of keys, query heads for each of them, their size, outputs of a gate. eps: of norms. scale: of
    scores. kept: of each layer the packed weights of queries, keys and values, of attention's output, of 16 gates and the 16 outputs that
    they are for in turns, of the second product behind them; weights of the norms before attention and before the gates; bias of the first
    product, weights of queries' and of keys' norms, each perhaps None.
    """
    pointers = [[None if x is None else x.data_ptr() for x in line] for line in kept]
    first = kept[0][0]
    assert first is not None
    return Layers(_Shape(*shape, eps, scale), (_Layer * len(kept))(*(_Layer(*line) for line in pointers)), kept, first.dtype)


def body(
    model: Layers, x: Tensor, rows: Tensor, tables: Tensor, data: Tensor, cosines: Tensor, sines: Tensor, keep: Tensor, norm: Tensor
) -> Tensor:
    """What layers make of embedded tokens x [T, width], which are changed on the way: of those at places `keep`, normalised by weights
    `norm`. rows, tables, data: see `attend`. cosines, sines: [positions, D]. Raises as `attend` does.
    """
    assert _compiled is not None and data.is_contiguous() and x.is_contiguous()
    _check(x, cosines, sines, norm)
    _check(data, dtype=model.dtype)
    out = x.new_empty(len(keep), x.shape[1])
    way = instructions() if model.dtype == torch.bfloat16 else PLAIN
    failed = _compiled.body(
        ctypes.byref(model.shape),
        model.layers,
        len(model.layers),
        way,
        x.data_ptr(),
        len(x),
        rows.data_ptr(),
        len(rows),
        tables.data_ptr(),
        tables.shape[1],
        data.data_ptr(),
        len(data),
        cosines.data_ptr(),
        sines.data_ptr(),
        keep.data_ptr(),
        len(keep),
        norm.data_ptr(),
        out.data_ptr(),
        _threads(16 * x.numel() * len(model.layers)),
    )
    if failed:
        raise _error(failed)
    return out


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [..., N] over the root of its mean square (eps added under it), times weight [N] (arXiv 1910.07467)."""
    assert _compiled is not None
    _check(x, weight)
    x, weight = x.contiguous(), weight.contiguous()
    out = torch.empty_like(x)
    size = x.shape[-1]
    _compiled.norm(x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.numel() // size, size, eps, _threads(x.numel()))
    return out


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Heads x [H, T, D], D a multiple of 32, each number of their first halves turned together with that of the second (arXiv 2104.09864):
    x * cosines + (-second half, first half) * sines, of cosines and sines [T, D].
    """
    assert _compiled is not None
    _check(x, cosines, sines)
    heads, tokens, size = x.shape
    x = x if x.stride(-1) == 1 else x.contiguous()
    cosines, sines = cosines.contiguous(), sines.contiguous()
    out = x.new_empty(tokens, heads, size)
    _compiled.rotate(
        _packed(x.transpose(0, 1)), _packed(out), cosines.data_ptr(), sines.data_ptr(), tokens, heads, size, _threads(x.numel())
    )
    return out.transpose(0, 1)


def gate(x: Tensor, y: Tensor) -> Tensor:
    """x * sigmoid(x) * y, of one shape [..., N] (arXiv 2002.05202)."""
    assert _compiled is not None
    _check(x, y)
    x, y = x.contiguous(), y.contiguous()
    out = torch.empty_like(x)
    _compiled.gate(x.data_ptr(), y.data_ptr(), out.data_ptr(), x.numel(), _threads(x.numel()))
    return out


def draw(logits: Tensor, u: Tensor, near: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draws from softmax(logits), logits [n, V], at uniform numbers u [n], all float32: ids int64 [n], their log-probabilities float32 [n]
    (NaN where a row's logits are no numbers), and bool [n], True where the draw is nearer than `near` to another id.
    """
    assert _compiled is not None
    _check(logits, u)
    logits, u = logits.contiguous(), u.contiguous()
    rows, vocabulary = logits.shape
    ids, logprobs, tied = u.new_empty(rows, dtype=torch.int64), torch.empty_like(u), u.new_empty(rows, dtype=torch.bool)
    where = (ids.data_ptr(), logprobs.data_ptr(), tied.data_ptr())
    if _compiled.draw(logits.data_ptr(), u.data_ptr(), rows, vocabulary, near, *where, _threads(logits.numel())):
        raise MemoryError("no memory to draw tokens")
    return ids, logprobs, tied


def copy(to: Tensor, places: Tensor, source: Tensor, sources: Tensor) -> None:
    """to[places[i]] = source[sources[i]] for all i; to and source [n, N] contiguous, of one kind, N numbers 16 bytes or a
    multiple; places, distinct, and sources int64.
    """
    if AVAILABLE and _compiled is not None and to.device.type == "cpu":
        where = (to.data_ptr(), places.data_ptr(), source.data_ptr(), sources.data_ptr())
        _compiled.copy(*where, len(places), to.shape[1] * to.itemsize, _threads(len(places) * to.shape[1]))
    else:
        _wide(to).index_copy_(0, places, _wide(source).index_select(0, sources))


def _wide(data: Tensor) -> Tensor:
    """The same memory in elements of 16 bytes: on a CPU torch copies by index in time per element."""
    return data.view(torch.complex128) if data.device.type == "cpu" else data
