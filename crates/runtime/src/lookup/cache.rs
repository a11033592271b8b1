//! What is remembered of a lookup table: for a key its rows, or that it has none.
//!
//! Memory: at most `max_bytes` of keys and rows with what is around them; what was asked for longest ago is forgotten
//! first. An answer that is older than its time to live counts for nothing.

use std::sync::Arc;

use headwater_connector::CacheOptions;
use lru::LruCache;
use tokio::time::Instant;

/// The rows of a key in Arrow's row format; none if it has none.
pub(super) type Remembered = Arc<[Box<[u8]>]>;

/// What an entry takes beside its bytes: two nodes of a list, a slot of a table, what the allocator adds.
const ENTRY_BYTES: u64 = 160;

/// What a row takes beside its bytes.
const ROW_BYTES: u64 = 32;

/// Rows by key.
pub(super) struct Cache {
    options: CacheOptions,
    entries: LruCache<Box<[u8]>, Entry>,
    bytes: u64,
}

struct Entry {
    rows: Remembered,
    since: Instant,
}

impl Cache {
    pub(super) fn new(options: CacheOptions) -> Self {
        Self {
            options,
            entries: LruCache::unbounded(),
            bytes: 0,
        }
    }

    /// What is remembered of a key.
    pub(super) fn get(&mut self, key: &[u8], now: Instant) -> Option<Remembered> {
        let entry = self.entries.get(key)?;
        let fresh = |ttl| now.duration_since(entry.since) < ttl;
        if self.options.ttl.is_none_or(fresh) {
            return Some(Arc::clone(&entry.rows));
        }
        self.forget(key);
        None
    }

    /// Remembers the rows of a key, unless they alone are more than there is room for.
    pub(super) fn put(&mut self, key: &[u8], rows: Remembered, now: Instant) {
        self.forget(key);
        let size = size(key, &rows);
        if size > self.options.max_bytes {
            return;
        }
        while self.bytes + size > self.options.max_bytes
            && let Some((key, entry)) = self.entries.pop_lru()
        {
            self.bytes -= self::size(&key, &entry.rows);
        }
        self.bytes += size;
        self.entries.put(key.into(), Entry { rows, since: now });
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.pop(key) {
            self.bytes -= size(key, &entry.rows);
        }
    }

    /// How much it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn size(key: &[u8], rows: &Remembered) -> u64 {
    let rows: u64 = rows.iter().map(|row| row.len() as u64 + ROW_BYTES).sum();
    key.len() as u64 + rows + ENTRY_BYTES
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rows(texts: &[&str]) -> Remembered {
        texts.iter().map(|text| text.as_bytes().into()).collect()
    }

    fn cache(max_bytes: u64, ttl: Option<Duration>) -> Cache {
        Cache::new(CacheOptions { max_bytes, ttl })
    }

    #[test]
    fn remembers_rows_and_that_there_are_none() {
        let mut cache = cache(10_000, None);
        let now = Instant::now();
        cache.put(b"a", rows(&["x", "y"]), now);
        cache.put(b"b", rows(&[]), now);
        assert_eq!(cache.get(b"a", now).unwrap(), rows(&["x", "y"]));
        assert_eq!(cache.get(b"b", now).unwrap(), rows(&[]));
        assert!(cache.get(b"c", now).is_none());
    }

    #[test]
    fn forgets_what_was_asked_for_longest_ago() {
        let one = size(b"a", &rows(&["x"]));
        let mut cache = cache(2 * one, None);
        let now = Instant::now();
        cache.put(b"a", rows(&["x"]), now);
        cache.put(b"b", rows(&["x"]), now);
        cache.get(b"a", now).unwrap();
        cache.put(b"c", rows(&["x"]), now);
        assert!(cache.get(b"b", now).is_none());
        assert!(cache.get(b"a", now).is_some() && cache.get(b"c", now).is_some());
        assert_eq!(cache.bytes(), 2 * one);
        // the same key anew takes no more room
        cache.put(b"c", rows(&["y"]), now);
        assert_eq!(cache.bytes(), 2 * one);
        // what is too large for all of it is not remembered, and drives nothing out but its own key
        cache.put(b"c", rows(&["x".repeat(1000).as_str()]), now);
        assert!(cache.get(b"c", now).is_none() && cache.get(b"a", now).is_some());
        assert_eq!(cache.bytes(), one);
    }

    #[test]
    fn an_answer_grows_old() {
        let ttl = Duration::from_secs(10);
        let mut cache = cache(10_000, Some(ttl));
        let now = Instant::now();
        cache.put(b"a", rows(&[]), now);
        assert!(
            cache
                .get(b"a", now + ttl - Duration::from_millis(1))
                .is_some()
        );
        assert!(cache.get(b"a", now + ttl).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
