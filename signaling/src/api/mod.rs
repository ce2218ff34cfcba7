//! The REST API, a router for each thing it is about.

pub(crate) mod accounts;
pub(crate) mod devices;
mod docs_page;
pub(crate) mod extract;
pub(crate) mod openapi;
pub(crate) mod server;
pub(crate) mod sessions;
