"""QLoRA fine-tuning as Kubernetes batch jobs, from data to a proven GGUF."""

# Read by pyproject.toml too; an import costs less than asking for the installed metadata.
__version__ = "0.1.0"
