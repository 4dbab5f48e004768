//! The Lambda function reconcile.

fn main() -> std::process::ExitCode {
    vesper_functions::lambda::workers::reconcile()
}
