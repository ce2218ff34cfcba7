//! Builds the server again when the web app that it embeds was built anew, appeared or went.

use std::path::Path;

fn main() {
    let dist = "../web/app/dist";
    // Cargo takes a path that is not there for changed at every build, so what it would appear in is watched.
    let watched = if Path::new(dist).exists() { dist } else { "../web/app" };
    println!("cargo::rerun-if-changed={watched}");
}
