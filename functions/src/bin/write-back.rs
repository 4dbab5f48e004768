//! The Lambda function write-back.

fn main() -> std::process::ExitCode {
    vesper_functions::lambda::workers::write_back()
}
