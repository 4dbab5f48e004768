//! The Lambda function push-books.

fn main() -> std::process::ExitCode {
    vesper_functions::lambda::workers::push_books()
}
