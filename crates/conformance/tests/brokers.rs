//! The conformance suite: against Mosquitto, and against the brokers that `HEADWATER_BROKERS` names.

fn main() -> std::process::ExitCode {
    headwater_conformance::run()
}
