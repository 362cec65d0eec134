"""The workshop edge: collect, decode, preprocess, store, forward."""
