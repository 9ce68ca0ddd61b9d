"""The learner: batches, losses, scoring, packing, LoRA, FSDP."""
