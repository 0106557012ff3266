//! The controllers of Okra.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    okra_app::okrad::main(std::env::args_os())
}
