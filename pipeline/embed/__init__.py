"""Embedding: which model, its exact tokenizer, the engine that runs it, and the gate its vectors pass."""
