"""QLoRA training of llama-like models on a GPU: whole halves of a layer as single operations."""
