//! Sessions against a simulated broker, over a world that loses connections at any byte, hundreds of times, each from
//! a seed. Nothing here waits or looks at a clock: a failing seed fails again.
//!
//! `HEADWATER_SEED=17 cargo test -p headwater-mqtt --test simulation` replays one; `HEADWATER_SEEDS=100000` runs more.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test panics when it fails"
)]

mod publisher;
mod subscriber;
mod wire;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How many seeds are run of each simulation.
const SEEDS: u64 = 200;

/// Runs a simulation for all seeds, or for the one of the environment.
fn for_all_seeds(name: &str, simulate: fn(StdRng)) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let seeds = match (number("HEADWATER_SEED"), number("HEADWATER_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(SEEDS),
    };
    for seed in seeds {
        let run = || simulate(StdRng::seed_from_u64(seed));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            println!("{name} failed; replay it with HEADWATER_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

/// Bytes on their way in both directions, in order, until the connection is lost and all of them with it.
#[derive(Default)]
struct Pipe {
    to_broker: VecDeque<u8>,
    to_client: VecDeque<u8>,
}

/// Takes a random part from the front.
fn some_bytes(rng: &mut StdRng, bytes: &mut VecDeque<u8>) -> Vec<u8> {
    let len = match rng.random_range(0..4) {
        0 => bytes.len(),
        1 => bytes.len().min(1),
        _ => rng.random_range(0..=bytes.len()),
    };
    bytes.drain(..len).collect()
}

#[test]
fn publishers_lose_nothing_and_answer_for_everything() {
    for_all_seeds("publisher", publisher::simulate);
}

#[test]
fn subscribers_acknowledge_what_was_committed_and_nothing_else() {
    for_all_seeds("subscriber", subscriber::simulate);
}
