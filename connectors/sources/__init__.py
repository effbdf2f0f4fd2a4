"""Sources: what lists and reads documents. `open_source` picks one by its spelling."""
