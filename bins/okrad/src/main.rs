//! The controllers of Okra.

use std::process::ExitCode;

fn main() -> ExitCode {
    okra_app::okrad::main(std::env::args_os())
}
