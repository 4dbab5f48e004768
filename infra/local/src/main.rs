//! The binary `vesper`: reads the command line and hands over. Everything else is in the library.

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use vesper_local::cli::{Cli, Command};
use vesper_local::{Failure, backfill, backtest, demo, doctor, export, pause, serve, setup};

#[global_allocator]
static ALLOCATOR: vesper_local::Allocator = vesper_local::Allocator;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told when standard error is closed.
            let _ = writeln!(std::io::stderr(), "vesper: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Backtest(args) => backtest::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Pause(args) => pause::run(&args),
        Command::Setup(args) => setup::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Backfill(args) => backfill::run(&args),
    }
}
