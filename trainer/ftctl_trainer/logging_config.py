"""What a stage prints: JSON lines in a pod or a pipe, readable lines on a terminal."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from ftctl.contract.status import LogLine, now

# Levels by logger; longer names win. Everything else is heard from WARNING on.
LEVELS: dict[str, int] = {
    "ftctl": logging.INFO,
    "ftctl_trainer": logging.INFO,
    "ftctl.storage": logging.INFO,
    "accelerate": logging.ERROR,
    "bitsandbytes": logging.ERROR,
    "botocore": logging.ERROR,
    "datasets": logging.ERROR,
    "filelock": logging.ERROR,
    "gguf": logging.ERROR,
    "huggingface_hub": logging.ERROR,
    "peft": logging.ERROR,
    "torch": logging.ERROR,
    "transformers": logging.ERROR,
    "trl": logging.ERROR,
    "urllib3": logging.ERROR,
}
# Read by the libraries when they are imported; progress bars and usage reports of their own.
_QUIET = {
    "BITSANDBYTES_NOWELCOME": "1",
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}


def configure_logging() -> None:
    """Set up the root logger, once, before torch or transformers is imported."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if _wants_json() else ReadableFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    least = logging.NOTSET if speaks_for_all() else logging.WARNING
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(max(level, least))


def speaks_for_all() -> bool:
    """Of several processes that train together the first tells how it goes."""
    return os.environ.get("RANK", "0") == "0"


class JsonFormatter(logging.Formatter):
    """One contract.status.LogLine a line; `extra` may carry `status` and `metrics`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        return LogLine(
            time=now(),
            level=record.levelname.lower(),
            logger=record.name,
            message=record.getMessage(),
            traceback=self.formatException(record.exc_info) if record.exc_info else None,
            status=getattr(record, "status", None),
            metrics=getattr(record, "metrics", None),
        ).model_dump_json(exclude_none=True)


class ReadableFormatter(logging.Formatter):
    """Time and message; the level only where it is worse than INFO."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        text = super().format(record)
        if record.levelno <= logging.INFO:
            return text
        time, _, rest = text.partition(" ")
        return f"{time} {record.levelname.lower()}: {rest}"


def _wants_json() -> bool:
    return os.environ.get("FTCTL_LOG") == "json" or not sys.stdout.isatty()
