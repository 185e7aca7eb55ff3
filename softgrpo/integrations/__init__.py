"""Adapters: each hands a host's groups to a scorer and the rewards back, and scores nothing by itself."""
