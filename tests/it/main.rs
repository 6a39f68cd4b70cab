//! Integration tests: the library from outside, and the binary as a user runs it.

mod bank_files;
mod compare;
mod goldens;
mod invariance;
mod ops;
mod tiny;
