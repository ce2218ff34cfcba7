//! `sotto-web-build IN.wasm FOLDER`: what `wasm-bindgen --target web` does. A program of the workspace, so that
//! Cargo.lock keeps the tool and the library at one version, and nobody has to install it.

use anyhow::{Context as _, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [input, folder] = arguments.as_slice() else { bail!("usage: sotto-web-build IN.wasm FOLDER") };
    Bindgen::new()
        .input_path(input)
        .web(true)?
        .typescript(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(folder)
        .with_context(|| format!("cannot make a module of {}", input.display()))
}
