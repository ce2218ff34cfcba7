//! What crosses crates: the simulator, which runs the cores that ship over a network, disks and a clock of its own.

#![allow(clippy::unwrap_used)] // A broken simulator should stop where it broke.

pub mod sim;
