//! The Lambda function intake.

fn main() -> std::process::ExitCode {
    vesper_functions::lambda::intake::intake()
}
