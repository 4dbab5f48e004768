//! The Lambda function import.

fn main() -> std::process::ExitCode {
    vesper_functions::lambda::import::import()
}
