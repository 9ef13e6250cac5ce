"""
llama.cpp's convert_hf_to_gguf.py over several models in one process, since its imports are slow.

Usage: reference_converter.py LLAMA_CPP TOKENIZER_HASH_NAME JOBS, the last as JSON: [[arguments]].
The tests' own tokenizer is registered under a name: llama.cpp knows tokenizers by a hash.
"""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    """Run every job."""
    folder, name, jobs = sys.argv[1:]
    sys.path[:0] = [f"{folder}/gguf-py", folder]
    converter = importlib.import_module("convert_hf_to_gguf")
    base = importlib.import_module("conversion.base")
    known = base.TextModel.get_vocab_base_pre

    def registered(model: object, tokenizer: object) -> str:
        try:
            return str(known(model, tokenizer))
        except NotImplementedError:
            return name

    base.TextModel.get_vocab_base_pre = registered
    for arguments in json.loads(jobs):
        sys.argv = ["convert_hf_to_gguf.py", *arguments]
        converter.main()


if __name__ == "__main__":
    main()
