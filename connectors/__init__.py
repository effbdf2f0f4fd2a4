"""Where corpusvec touches the outside world: one file a vendor, imported only when it is used."""
