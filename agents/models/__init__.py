"""Causal language models: loading, chat formats, token streams, adapters."""
