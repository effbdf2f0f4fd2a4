"""Vector databases. `open_store` picks one by its URL."""
