"""A supernet of a Fashion-MNIST network, against networks trained on their own: see `__main__`."""
