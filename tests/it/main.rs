//! Tests of the binary as its users drive it, against the real programs.
