"""The generation engine: batches of streams, KV cache, prefix cache, sampling, CPU kernels."""
