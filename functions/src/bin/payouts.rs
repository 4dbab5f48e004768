//! The Lambda function payouts.

fn main() -> std::process::ExitCode {
    vesper_functions::lambda::workers::payouts()
}
