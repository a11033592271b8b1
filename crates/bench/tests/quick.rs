//! The bench itself, with a few messages: every case runs to its end and loses nothing.

fn main() -> std::process::ExitCode {
    headwater_bench::quick_tests()
}
