"""The Modelfile that makes Ollama prompt a GGUF as it was trained."""

from __future__ import annotations

from ftctl_trainer.export.chat_formats import ChatFormat, KnownChat
from ftctl_trainer.export.split import joined_name

# Three quotes end a text of https://docs.ollama.com/modelfile, and nothing escapes them.
_QUOTES = '"""'


def modelfile(parts: list[str], chat: KnownChat | None, system: str | None) -> str:
    """
    Write a Modelfile.

    Args:
        parts: names of the GGUF's files, which lie beside the Modelfile.
        chat: the format that was proven to render as the model's own template; None if unknown.
        system: the system text that all rows share.
    """
    lines = _from(parts)
    if chat is None:
        lines.append("# No TEMPLATE: Ollama takes the chat template that the GGUF itself has.")
    else:
        lines.append(f"TEMPLATE {_quoted(go_template(chat.format))}")
        lines += [f'PARAMETER stop "{word}"' for word in chat.format.stop]
        system = system or chat.default_system
    if system and _QUOTES not in system:
        lines.append(f"SYSTEM {_quoted(system)}")
    return "\n".join(lines) + "\n"


def go_template(form: ChatFormat) -> str:
    """A format as Ollama's Go template; the sequence's first token is added by Ollama."""
    cases = [
        f'{{{{ {"if" if number == 0 else "else if"} eq .Role "{role}" }}}}'
        f"{turn.before}{{{{ .Content }}}}{turn.after}"
        for number, (role, turn) in enumerate(form.turns.items())
    ]
    return f"{{{{ range .Messages }}}}{''.join(cases)}{{{{ end }}}}{{{{ end }}}}{form.prompt}"


def _from(parts: list[str]) -> list[str]:
    if len(parts) == 1:
        return [f"FROM ./{parts[0]}"]
    # https://github.com/ollama/ollama/issues/5245
    whole = joined_name(parts[0])
    return [
        f"# This GGUF has {len(parts)} files, and Ollama takes one. Join them first:",
        f"#   llama-gguf-split --merge {parts[0]} {whole}",
        *(f"# {name}" for name in parts),
        f"FROM ./{whole}",
    ]


def _quoted(text: str) -> str:
    return f"{_QUOTES}{text}{_QUOTES}"
