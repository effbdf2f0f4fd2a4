"""What a corpus becomes: documents, chunks, vectors and an index. No Prefect and no database client in here."""
