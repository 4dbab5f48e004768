//! The Lambda function review.

fn main() -> std::process::ExitCode {
    vesper_functions::lambda::review::review()
}
