//! Graph IR, sparsity, kernel IR and reference interpreters.
