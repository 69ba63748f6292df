//! Example programs of condensec.
