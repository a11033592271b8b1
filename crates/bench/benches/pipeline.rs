//! `cargo bench --bench pipeline -- --help`; see `docs/performance.md`.

fn main() -> std::process::ExitCode {
    headwater_bench::main()
}
