//! Which sessions are open: for each key their first and last times, and where their states lie.
//!
//! Sessions of a key are a chain, mostly of one. A heap tells which ends next: an entry for each session, with the end that
//! it had when the entry was made. Whether it has grown since is seen when the entry's time has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::segments::Place;

/// No session.
const NONE: u32 = u32::MAX;

/// The open sessions.
pub(super) struct Book {
    gap_ns: i64,
    /// The first session of each key.
    heads: Vec<u32>,
    sessions: Vec<Open>,
    /// Those of `sessions` that are none.
    free: Vec<u32>,
    /// Ends, with the session and its generation.
    ends: BinaryHeap<Reverse<(i64, u32, u32)>>,
}

struct Open {
    first: i64,
    last: i64,
    key: u32,
    /// The next session of the same key.
    next: u32,
    /// Counts what has been in this place of the list, so that old entries of the heap are known.
    generation: u32,
    places: Places,
}

/// Where the state of a session lies: at least one place.
#[derive(Debug, Clone)]
pub(super) struct Places {
    first: Place,
    more: Vec<Place>,
}

/// A session that has ended.
pub(super) struct Ended {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) places: Places,
}

/// A session that is in the book no more.
struct Removed {
    start: i64,
    last: i64,
    places: Places,
}

impl From<Place> for Places {
    fn from(first: Place) -> Self {
        let more = Vec::new();
        Self { first, more }
    }
}

impl Places {
    fn newest(&self) -> Place {
        *self.more.last().unwrap_or(&self.first)
    }

    pub(super) fn first(&self) -> Place {
        self.first
    }

    /// The place, if it is the only one.
    pub(super) fn only(&self) -> Option<Place> {
        self.more.is_empty().then_some(self.first)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Place> {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
}

impl Open {
    fn end(&self, gap_ns: i64) -> i64 {
        self.last.saturating_add(gap_ns)
    }

    /// Whether a row of this time belongs to it.
    fn takes(&self, time: i64, gap_ns: i64) -> bool {
        time.saturating_sub(self.last) < gap_ns && self.first.saturating_sub(time) < gap_ns
    }
}

impl Book {
    pub(super) fn new(gap_ns: i64) -> Self {
        Self {
            gap_ns,
            heads: Vec::new(),
            sessions: Vec::new(),
            free: Vec::new(),
            ends: BinaryHeap::new(),
        }
    }

    /// The place in the newest segment for a row of a key: `unused`, the next one there, or one that its session has there;
    /// `None` if the row is late.
    pub(super) fn place(
        &mut self,
        key: usize,
        time: i64,
        watermark: i64,
        unused: Place,
    ) -> Option<Place> {
        if self.heads.len() <= key {
            self.heads.resize(key + 1, NONE);
        }
        let Some(session) = self.taker(key, time, watermark) else {
            if time.saturating_add(self.gap_ns) <= watermark {
                return None;
            }
            self.begin(key, time, unused);
            return Some(unused);
        };
        let session = &mut self.sessions[session as usize];
        session.first = session.first.min(time);
        session.last = session.last.max(time);
        let newest = session.places.newest();
        if newest.segment == unused.segment {
            return Some(newest);
        }
        session.places.more.push(unused);
        Some(unused)
    }

    /// The session that takes a row. If there are several, they become one.
    fn taker(&mut self, key: usize, time: i64, watermark: i64) -> Option<u32> {
        let mut taker = None;
        let mut at = self.heads[key];
        while at != NONE {
            let open = &self.sessions[at as usize];
            let next = open.next;
            // one that has ended waits only to be put out
            if open.takes(time, self.gap_ns) && open.end(self.gap_ns) > watermark {
                match taker {
                    None => taker = Some(at),
                    Some(taker) => self.unite(taker, at),
                }
            }
            at = next;
        }
        taker
    }

    fn begin(&mut self, key: usize, time: i64, place: Place) {
        let id = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(Open {
                first: 0,
                last: 0,
                key: 0,
                next: NONE,
                generation: 0,
                places: Places::from(place),
            });
            (self.sessions.len() - 1) as u32
        });
        let open = &mut self.sessions[id as usize];
        open.first = time;
        open.last = time;
        open.key = key as u32;
        open.next = self.heads[key];
        open.places = Places::from(place);
        self.heads[key] = id;
        let end = open.end(self.gap_ns);
        self.ends.push(Reverse((end, id, open.generation)));
    }

    fn unite(&mut self, into: u32, other: u32) {
        let other = self.remove(other);
        let into = &mut self.sessions[into as usize];
        into.first = into.first.min(other.start);
        into.last = into.last.max(other.last);
        into.places.more.extend(other.places.iter());
    }

    fn remove(&mut self, id: u32) -> Removed {
        let open = &mut self.sessions[id as usize];
        open.generation = open.generation.wrapping_add(1);
        let none = Places::from(open.places.first);
        let removed = Removed {
            start: open.first,
            last: open.last,
            places: std::mem::replace(&mut open.places, none),
        };
        let (key, next) = (open.key as usize, open.next);
        self.unlink(key, id, next);
        self.free.push(id);
        removed
    }

    /// Takes a session out of the chain of its key.
    fn unlink(&mut self, key: usize, id: u32, next: u32) {
        if self.heads[key] == id {
            self.heads[key] = next;
            return;
        }
        let mut before = self.heads[key];
        while self.sessions[before as usize].next != id {
            before = self.sessions[before as usize].next;
        }
        self.sessions[before as usize].next = next;
    }

    /// Removes the first session that has ended.
    pub(super) fn next_ended(&mut self, watermark: i64) -> Option<Ended> {
        while let Some(Reverse((end, id, generation))) = self.ends.peek().copied()
            && end <= watermark
        {
            self.ends.pop();
            let open = &self.sessions[id as usize];
            if open.generation != generation {
                continue;
            }
            let now = open.end(self.gap_ns);
            if now > end {
                self.ends.push(Reverse((now, id, generation)));
                continue;
            }
            let Removed { start, places, .. } = self.remove(id);
            return Some(Ended { start, end, places });
        }
        None
    }

    /// How many there are.
    pub(super) fn open(&self) -> usize {
        self.sessions.len() - self.free.len()
    }

    /// Those sessions whose states lie at such places.
    pub(super) fn those(&self, lie: impl Fn(&Places) -> bool) -> Vec<u32> {
        let lie = |id: &u32| lie(&self.sessions[*id as usize].places);
        self.chains().filter(lie).collect()
    }

    /// Where the states of some lie.
    pub(super) fn places(&self, sessions: &[u32]) -> Vec<&Places> {
        let sessions = sessions.iter();
        sessions
            .map(|id| &self.sessions[*id as usize].places)
            .collect()
    }

    /// All sessions, key by key.
    fn chains(&self) -> impl Iterator<Item = u32> {
        self.heads.iter().flat_map(|head| self.chain(*head))
    }

    /// The sessions of one key.
    fn chain(&self, head: u32) -> impl Iterator<Item = u32> {
        let some = |id: u32| (id != NONE).then_some(id);
        std::iter::successors(some(head), move |id| some(self.sessions[*id as usize].next))
    }

    /// Notes that the states of some lie side by side from a place on.
    pub(super) fn move_to(&mut self, first: Place, sessions: &[u32]) {
        for (row, id) in (first.row..).zip(sessions) {
            self.sessions[*id as usize].places = Places::from(Place { row, ..first });
        }
    }

    /// Gives the keys of all sessions other numbers.
    pub(super) fn renumber(&mut self, sessions: &[u32], keys: &[usize]) {
        self.heads.clear();
        self.heads
            .resize(keys.iter().max().map_or(0, |key| key + 1), NONE);
        for (id, key) in sessions.iter().zip(keys) {
            let session = &mut self.sessions[*id as usize];
            session.key = *key as u32;
            session.next = std::mem::replace(&mut self.heads[*key], *id);
        }
    }

    /// The first and last times of some.
    pub(super) fn spans(&self, sessions: &[u32]) -> [Vec<i64>; 2] {
        let open = || sessions.iter().map(|id| &self.sessions[*id as usize]);
        [
            open().map(|open| open.first).collect(),
            open().map(|open| open.last).collect(),
        ]
    }

    /// Notes a session as it was, unless it has ended, or is known as it was later.
    pub(super) fn restore(
        &mut self,
        key: usize,
        (first, last): (i64, i64),
        watermark: i64,
        place: Place,
    ) -> bool {
        if self.heads.len() <= key {
            self.heads.resize(key + 1, NONE);
        }
        let head = self.heads[key];
        let is_known = {
            let mut known = self.chain(head).map(|id| &self.sessions[id as usize]);
            known.any(|open| open.takes(first, self.gap_ns))
        };
        if is_known || last.saturating_add(self.gap_ns) <= watermark {
            return false;
        }
        self.begin(key, first, place);
        let begun = self.heads[key] as usize;
        self.sessions[begun].last = last;
        true
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        let heads = self.heads.capacity() * size_of::<u32>();
        let sessions = self.sessions.capacity() * size_of::<Open>();
        heads + sessions + self.ends.capacity() * size_of::<Reverse<(i64, u32, u32)>>()
    }
}
