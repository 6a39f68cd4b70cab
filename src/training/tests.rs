//! The whole network against finite differences.
