//! What only tests, benches and the laboratory need. No part of the interface: it changes without notice.

pub use crate::detector::{DeviceBank, HostFeatures, Pipeline, Session};
