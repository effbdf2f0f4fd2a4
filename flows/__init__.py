"""Scheduling, and the ways in: Prefect flows, the command line, and the Corpus that a notebook opens."""

from flows.corpus import Corpus

__all__ = ["Corpus"]
