"""Proven files on their way to a model hub or an OCI registry."""
