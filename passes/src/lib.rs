//! IR-to-IR passes and lowering.
