//! `cargo bench --bench window -- --help`; see `docs/performance.md`.

fn main() -> std::process::ExitCode {
    headwater_bench::windows()
}
