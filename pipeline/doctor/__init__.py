"""What can be wrong before a run begins: small checks, each of which finds one thing and says what to do about it."""
