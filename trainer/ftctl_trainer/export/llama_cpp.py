"""
The one place that touches llama.cpp: the library inside xllamacpp, by ctypes.

Signatures are those of llama.cpp's include/llama.h and ggml.h. Parameter structs are passed
through opaque and too large, since they grow with every version: a struct this big is passed in
memory on x86-64 and by reference on aarch64, and the callee reads only the part it knows. The
few fields that are set stand first, and their defaults are checked before they are believed.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftctl.errors import ConfigError, RunFailedError

_HINT = "Install a version of xllamacpp that ftctl was tested with: pip install 'ftctl[convert]'."
_LOG_ERROR = 4  # enum ggml_log_level


class _Params(ctypes.Structure):
    _fields_ = (("words", ctypes.c_uint32 * 256),)


class _Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
        ("later_versions", ctypes.c_uint8 * 128),
    )


_LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_errors: list[str] = []


def position_logits(
    model: Path,
    sequences: list[list[int]],
    firsts: list[int],
    threads: int,
    lora: Path | None = None,
) -> Iterator[NDArray[np.float32]]:
    """
    Run a GGUF over token sequences; yield one [vocab] row of logits a position.

    The rows of a sequence are those that predict its tokens `first` to the last.

    Args:
        lora: a GGUF of an adapter that is laid over the model.
    Raises:
        RunFailedError: llama.cpp cannot load the file or fails on it.
    """
    library = _library()
    longest = max(len(sequence) for sequence in sequences)
    with _context(model, longest, threads, lora) as context:
        memory = library.llama_get_memory(context)
        vocab = library.llama_vocab_n_tokens(
            library.llama_model_get_vocab(library.llama_get_model(context))
        )
        batch = _batch(longest)
        for sequence, first in zip(sequences, firsts, strict=True):
            library.llama_memory_clear(memory, True)
            _fill(batch, sequence[:-1], first - 1)
            code = library.llama_decode(context, batch)
            if code != 0:
                raise RunFailedError(f"llama_decode failed with code {code}", where=str(model))
            for position in range(first - 1, len(sequence) - 1):
                row = library.llama_get_logits_ith(context, position)
                yield np.ctypeslib.as_array(row, (vocab,)).copy()
        library.llama_batch_free(batch)


def quantize(
    values: NDArray[np.float32],
    ggml_type: int,
    threads: int,
    importance: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """
    Quantize rows by ggml's own code.

    Args:
        values: [rows, columns]; columns a multiple of the type's block size.
        ggml_type: number in enum ggml_type.
        importance: [columns], how much an error of each counts.
    Returns:
        [rows, bytes a row].
    """
    library = _library()
    rows, columns = values.shape
    source = np.ascontiguousarray(values)
    row_bytes = library.ggml_row_size(ggml_type, columns)
    target = np.empty((rows, row_bytes), np.uint8)
    library.ggml_quantize_init(ggml_type)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)

    def chunk(start: int, count: int) -> int:
        return int(
            library.ggml_quantize_chunk(
                ggml_type, source.ctypes.data, target.ctypes.data, start * columns, count,
                columns, None if weights is None else weights.ctypes.data,
            )
        )  # fmt: skip

    step = -(-rows // threads)
    starts = range(0, rows, step)
    with ThreadPoolExecutor(threads) as pool:  # ctypes lets go of the interpreter lock
        written = sum(pool.map(chunk, starts, (min(step, rows - start) for start in starts)))
    if written != target.nbytes:
        raise RunFailedError(
            f"ggml wrote {written} bytes where type {ggml_type} needs {target.nbytes}", hint=_HINT
        )
    return target


@cache
def _library() -> ctypes.CDLL:
    """Load the library once, with signatures; llama.cpp's errors are kept for our messages."""
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "the package xllamacpp is not installed", hint="pip install 'ftctl[convert]'"
        )
    folder = Path(spec.submodule_search_locations[0])
    library = ctypes.CDLL(str(next(folder.glob("xllamacpp*.so"))))
    pointer, i32, i64, size = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_size_t
    floats = ctypes.POINTER(ctypes.c_float)
    signatures: dict[str, tuple[object, list[object]]] = {
        "llama_backend_init": (None, []),
        "llama_log_set": (None, [_LogCallback, pointer]),
        "llama_model_default_params": (_Params, []),
        "llama_context_default_params": (_Params, []),
        "llama_model_load_from_file": (pointer, [ctypes.c_char_p, _Params]),
        "llama_init_from_model": (pointer, [pointer, _Params]),
        "llama_get_model": (pointer, [pointer]),
        "llama_get_memory": (pointer, [pointer]),
        "llama_memory_clear": (None, [pointer, ctypes.c_bool]),
        "llama_model_get_vocab": (pointer, [pointer]),
        "llama_vocab_n_tokens": (i32, [pointer]),
        "llama_n_ctx": (ctypes.c_uint32, [pointer]),
        "llama_set_n_threads": (None, [pointer, i32, i32]),
        "llama_batch_init": (_Batch, [i32, i32, i32]),
        "llama_batch_free": (None, [_Batch]),
        "llama_decode": (i32, [pointer, _Batch]),
        "llama_get_logits_ith": (floats, [pointer, i32]),
        "llama_adapter_lora_init": (pointer, [pointer, ctypes.c_char_p]),
        "llama_set_adapters_lora": (i32, [pointer, ctypes.POINTER(pointer), size, floats]),
        "llama_free": (None, [pointer]),
        "llama_model_free": (None, [pointer]),
        "ggml_quantize_init": (None, [ctypes.c_int]),
        "ggml_row_size": (size, [ctypes.c_int, i64]),
        "ggml_quantize_chunk": (size, [ctypes.c_int, pointer, pointer, i64, i64, i64, pointer]),
    }
    for name, (result, arguments) in signatures.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise RunFailedError(
                f"this build of llama.cpp has no {name}", where=str(folder), hint=_HINT
            ) from error
        function.restype, function.argtypes = result, arguments
    library.llama_log_set(_KEEP_ERROR, None)
    library.llama_backend_init()
    return library


def _keep_error(level: int, text: bytes, _data: object) -> None:
    if level == _LOG_ERROR:
        _errors.append(text.decode(errors="replace").strip())


# Kept for good: the library holds no reference of its own.
_KEEP_ERROR = _LogCallback(_keep_error)


@contextmanager
def _context(model: Path, tokens: int, threads: int, lora: Path | None) -> Iterator[int]:
    """Load a model and open a context of `tokens` positions in one batch and sequence."""
    library = _library()
    params = library.llama_context_default_params()
    # n_ctx, n_batch, n_ubatch, n_seq_max come first, llama.h: struct llama_context_params.
    if tuple(params.words[:4]) != (512, 2048, 512, 1):
        raise RunFailedError(
            f"llama.cpp's default context is {tuple(params.words[:4])}, not the one known here",
            hint=_HINT,
        )
    params.words[:3] = [tokens, tokens, min(tokens, 512)]
    loaded = library.llama_model_load_from_file(
        str(model).encode(), library.llama_model_default_params()
    )
    if not loaded:
        raise _refused("llama.cpp cannot load this file", model)
    # llama.h wants adapters before the context; they go with the model.
    adapter = library.llama_adapter_lora_init(loaded, str(lora).encode()) if lora else None
    if lora and not adapter:
        raise _refused("llama.cpp cannot load this adapter", lora)
    context = library.llama_init_from_model(loaded, params)
    if not context or library.llama_n_ctx(context) < tokens:
        raise _refused(f"llama.cpp opens no context of {tokens} tokens", model)
    if adapter:
        one, whole = (ctypes.c_void_p * 1)(adapter), (ctypes.c_float * 1)(1.0)
        if library.llama_set_adapters_lora(context, one, 1, whole) != 0:
            raise _refused("llama.cpp does not take this adapter", lora or model)
    library.llama_set_n_threads(context, threads, threads)
    try:
        yield context
    finally:
        library.llama_free(context)
        library.llama_model_free(loaded)


def _batch(tokens: int) -> _Batch:
    batch: _Batch = _library().llama_batch_init(tokens, 0, 1)
    if batch.n_tokens != 0 or batch.embd or not batch.token or not batch.logits:
        raise RunFailedError("llama.cpp's batch is not laid out as known here", hint=_HINT)
    return batch


def _fill(batch: _Batch, tokens: list[int], first_output: int) -> None:
    batch.n_tokens = len(tokens)
    for index, token in enumerate(tokens):
        batch.token[index], batch.pos[index] = token, index
        batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
        batch.logits[index] = index >= first_output


def _refused(what: str, model: Path) -> RunFailedError:
    return RunFailedError(what, where=str(model), hint="\n".join(_errors[-3:]) or _HINT)
