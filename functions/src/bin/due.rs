//! The Lambda function due.

fn main() -> std::process::ExitCode {
    vesper_functions::lambda::due::due()
}
