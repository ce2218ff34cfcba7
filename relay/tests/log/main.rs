//! The log's rules, through its inputs and outputs alone.

#![allow(missing_docs, clippy::unwrap_used)]

mod appends;
mod flow;
mod interleavings;
mod membership;
mod positions;
mod trust;
mod world;
