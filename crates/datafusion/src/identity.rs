//! Who reads or writes, towards the other side: the same whenever the same query runs again, different for two queries
//! at once.
//!
//! Each scan of a table takes the lowest free *seat*. A seat is free as soon as its scan is dropped, but the connection
//! is still being closed then; whoever takes the seat next waits for that behind the seat's gate, or the two would
//! throw each other out.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use headwater_connector::{Metrics, Rejects, State, TaskContext};

/// The name under which a program's tables are known to the other side, across restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job(String);

impl Job {
    /// A job of this name. At most one program at a time may use it with the same table names.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The same whenever this program runs on this machine: its name, and a hash of its path and of the machine.
    #[must_use]
    pub fn of_program() -> Self {
        let path = std::env::current_exe().unwrap_or_default();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        // the standard library's hasher with its fixed keys; a change of it costs one session, not data
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        for file in ["/etc/machine-id", "/etc/hostname"] {
            std::fs::read_to_string(file)
                .unwrap_or_default()
                .hash(&mut hasher);
        }
        Self(format!(
            "{}-{:08x}",
            stem.unwrap_or("datafusion"),
            hasher.finish() & 0xffff_ffff
        ))
    }
}

/// The seats of one table.
#[derive(Debug)]
pub(crate) struct Seats {
    job: Job,
    table: String,
    seats: Mutex<Vec<Place>>,
}

#[derive(Debug, Default)]
struct Place {
    taken: bool,
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Seats {
    pub(crate) fn new(job: Job, table: &str) -> Arc<Self> {
        Arc::new(Self {
            job,
            table: table.to_owned(),
            seats: Mutex::default(),
        })
    }

    /// The lowest free seat. As many seats exist as there ever were scans at once.
    pub(crate) fn take(self: &Arc<Self>) -> Seat {
        let mut places = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match places.iter().position(|place| !place.taken) {
            Some(free) => free,
            None => {
                places.push(Place::default());
                places.len() - 1
            }
        };
        places[number].taken = true;
        Seat {
            number,
            gate: Arc::clone(&places[number].gate),
            seats: Arc::clone(self),
        }
    }
}

/// One of them, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    number: usize,
    /// Held by the connection under this seat's name, from before it is made until after it is closed.
    pub(crate) gate: Arc<tokio::sync::Mutex<()>>,
    seats: Arc<Seats>,
}

impl Seat {
    /// What an operator is told of itself.
    pub(crate) fn context(&self, metrics: Arc<Metrics>, rejects: Rejects) -> TaskContext {
        let table = &self.seats.table;
        TaskContext {
            job_id: self.seats.job.0.clone(),
            operator_id: match self.number {
                0 => table.clone(),
                number => format!("{table}-{}", number + 1),
            },
            subtask: 0,
            parallelism: 1,
            metrics,
            rejects,
            state: State::default(),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let places = &self.seats.seats;
        let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
        places[self.number].taken = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_scans_at_once_are_two_clients_and_the_next_is_the_first_again() {
        let seats = Seats::new(Job::new("j"), "t");
        let name = |seat: &Seat| seat.context(Arc::default(), Rejects::default()).operator_id;
        let first = seats.take();
        let second = seats.take();
        assert_eq!(
            (name(&first), name(&second)),
            ("t".to_owned(), "t-2".to_owned())
        );
        drop(first);
        let again = seats.take();
        assert_eq!(
            (name(&again), name(&seats.take())),
            ("t".to_owned(), "t-3".to_owned())
        );
    }

    #[test]
    fn a_program_is_itself() {
        assert_eq!(Job::of_program(), Job::of_program());
    }
}
