"""What is stated and proven about time slices: manifests, digests, states; knows no log."""
