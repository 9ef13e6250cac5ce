"""Makes equal runs equal, bit for bit."""

from __future__ import annotations

import os


def pin(threads: int, seed: int, *, deterministic: bool) -> None:
    """
    Fix threads, seeds and algorithms of this process.

    Sums depend on how many threads share them, so `threads` stays the same over a run. On a GPU
    only `deterministic` asks for repeatable kernels, which cost speed.
    """
    # Read when CUDA starts: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch
    from transformers import set_seed

    torch.set_num_threads(threads)
    set_seed(seed)
    if deterministic or not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True, warn_only=not deterministic)
        # Filling every new tensor costs time, and no tensor here is read before it is written.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
