"""llama.cpp's own server inside this process: chat template, tokenizer and answers as users get."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TIMEOUT_S = 600


class ChatServer:
    """What is asked of a running server, over its port on this machine."""

    def __init__(self, address: str) -> None:
        self._address = address
        # A proxy of the environment has no business with a port on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, special tokens in it understood, none added."""
        asked = {"content": text, "add_special": False, "parse_special": True}
        tokens: list[int] = self._post("/tokenize", asked)["tokens"]
        return tokens

    def render(self, messages: list[dict[str, str]], *, generate: bool = True) -> str:
        """The prompt that the model's chat template makes of messages."""
        asked = {"messages": messages, "add_generation_prompt": generate}
        return str(self._post("/apply-template", asked)["prompt"])

    def complete(self, prompt_ids: list[int], max_tokens: int) -> str:
        """Continue a prompt of token ids greedily."""
        asked = {"prompt": prompt_ids, "n_predict": max_tokens, "temperature": 0}
        return str(self._post("/completion", asked)["content"])

    def chat(self, messages: list[dict[str, str]], max_tokens: int) -> str:
        """Answer a conversation greedily."""
        asked = {"messages": messages, "max_tokens": max_tokens, "temperature": 0}
        answer = self._post("/v1/chat/completions", asked)
        return str(answer["choices"][0]["message"]["content"] or "")

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self._address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with self._opener.open(request, timeout=_TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


@contextmanager
def chat_server(
    model: Path, *, tokens: int, slots: int = 1, threads: int = 1
) -> Iterator[ChatServer]:
    """Serve a GGUF; `tokens` is the context of each of `slots` conversations at once."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = tokens * slots
    params.n_parallel = slots
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.port = 0
    params.warmup = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    yield ChatServer(server.listening_address)
    del server
