//! What only tests, benches and the laboratory need. No part of the interface: it changes without notice.

pub use crate::engine::{DeviceBank, HostFeatures, Pipeline, Session};
