"""`python -m flows`: serve the deployments, as `corpusvec deploy` does."""

from flows.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["deploy"]))
