//! Real servers and real peers, each a process; links, servers and authors that die.
//!
//! Each test ends in [`harness::judge`]: exactly once, in each sender's order, in one display order everywhere.

#![allow(clippy::unwrap_used)] // A test says what went wrong where it went wrong.

mod chat;
mod groups;
mod harness;
mod pairs;
mod people;
