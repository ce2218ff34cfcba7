//! `sotto`: Sotto's native peer on the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    sotto_peer_client::cli::main()
}
