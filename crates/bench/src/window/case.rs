//! What is measured: kinds of windows, how many keys, where rows come from, how many workers.

use serde::{Deserialize, Serialize};

/// The event time of the first row, in nanoseconds since 1970: 2026-11-21T06:00:00Z, a multiple of all windows.
pub(super) const START_NS: u64 = 1_795_240_800_000_000_000;

/// The width of the windows.
const WIDTH_NS: u64 = 10_000_000_000;

/// What is asked about the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Query {
    /// Of 10 seconds.
    Tumble,
    /// The same without keys, of two sources, each of half of the rows, which come in on different workers.
    Total,
    /// Of 10 seconds, one each second.
    Hop,
    /// With a gap of 5 seconds. Each key is active for 10 seconds, then silent for 90.
    Session,
    /// Of two tumbling windows of 10 seconds, each of half of the rows.
    Join,
    /// A tumbling window of 10 seconds with one sum, of whole numbers: added up in 128 bits, so that it cannot wrap around.
    Sum,
    /// The same of floats, to compare with.
    SumOfFloats,
    /// Without a window: results that change, told once a second. With state, what is told is on disk before.
    Changes,
    /// For each row the average of its last 10 seconds, and the row before.
    Over,
}

/// Where the rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Input {
    /// Numbers, made in place.
    Impulse,
    /// 100 bytes of JSON each, from a fake broker at QoS 0.
    Mqtt,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Contender {
    /// Headwater, which passes the rows on.
    NoWindow,
    /// A batch over rows that are in memory.
    DataFusion,
    Headwater,
    /// The same with a folder for its state: a journal, and a checkpoint a second.
    Kept,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoWindow => "no window",
            Self::DataFusion => "DataFusion",
            Self::Headwater => "Headwater",
            Self::Kept => "state kept",
        }
    }
}

/// One case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) query: Query,
    pub(crate) input: Input,
    pub(crate) keys: u64,
    pub(crate) workers: usize,
    /// Of all sources together.
    pub(crate) rows: u64,
}

impl Case {
    /// Every case, in the order of the table.
    pub(crate) fn all(rows: u64) -> Vec<Self> {
        let impulse = [
            (Query::Total, 1),
            (Query::Tumble, 10),
            (Query::Tumble, 1_000),
            (Query::Tumble, 1_000_000),
            (Query::Hop, 1_000),
            (Query::Session, 1_000),
            (Query::Join, 1_000),
            (Query::Sum, 1_000),
            (Query::SumOfFloats, 1_000),
            (Query::Over, 1_000),
        ];
        let case = |query, input, keys, workers| Self {
            query,
            input,
            keys,
            workers,
            rows,
        };
        let mut cases: Vec<_> = impulse
            .into_iter()
            .flat_map(|(query, keys)| {
                [1, 2].map(|workers| case(query, Input::Impulse, keys, workers))
            })
            .collect();
        cases.push(case(Query::Changes, Input::Impulse, 1_000, 1));
        // of which a build without optimisation takes a minute
        if rows > super::FEW_ROWS {
            cases.push(case(Query::Changes, Input::Impulse, 1_000_000, 1));
        }
        cases.push(case(Query::Tumble, Input::Mqtt, 1_000, 1));
        cases.push(case(Query::Tumble, Input::Mqtt, 1_000_000, 1));
        cases
    }

    /// As in `tumble-1000-keys-2-workers`.
    pub(crate) fn name(&self) -> String {
        let query = match self.query {
            Query::Tumble | Query::Total => "tumble",
            Query::Hop => "hop",
            Query::Session => "session",
            Query::Join => "join",
            Query::Sum => "sum",
            Query::SumOfFloats => "sum-of-floats",
            Query::Changes => "changes",
            Query::Over => "over",
        };
        let input = match self.input {
            Input::Impulse => "",
            Input::Mqtt => "mqtt-",
        };
        let s = if self.workers == 1 { "" } else { "s" };
        let keys = match self.query {
            Query::Total => "no".to_owned(),
            _ => self.keys.to_string(),
        };
        format!("{input}{query}-{keys}-keys-{}-worker{s}", self.workers)
    }

    /// Who runs, the references first.
    pub(crate) fn contenders(&self) -> &'static [Contender] {
        match self.input {
            Input::Impulse => &[
                Contender::NoWindow,
                Contender::DataFusion,
                Contender::Headwater,
                Contender::Kept,
            ],
            // a batch decodes nothing
            Input::Mqtt => &[Contender::NoWindow, Contender::Headwater, Contender::Kept],
        }
    }

    /// Whether all give as many results: how often changes are told depends on how long the run takes.
    pub(super) fn has_one_answer(&self) -> bool {
        self.query != Query::Changes
    }

    /// Where Headwater writes its results.
    pub(super) fn sink(&self) -> &'static str {
        match self.query {
            Query::Changes => {
                "connector = 'single_file', type = 'sink', path = '/dev/null', format = 'debezium_json'"
            }
            _ => "connector = 'blackhole'",
        }
    }

    /// The names of the sources.
    pub(super) fn sources(&self) -> &'static [&'static str] {
        match self.query {
            Query::Join | Query::Total => &["a", "b"],
            _ => &["a"],
        }
    }

    /// How many rows one source has.
    pub(super) fn rows_of_source(&self) -> u64 {
        self.rows / self.sources().len() as u64
    }

    /// The event time between one row of a source and the next: a window has 100,000 rows, or 4 of each key if that is more.
    pub(super) fn interval_ns(&self) -> u64 {
        WIDTH_NS / (4 * self.keys).max(100_000)
    }

    /// The key of a row, given its number, in SQL. Keys that follow each other are far apart.
    pub(super) fn key(&self) -> String {
        let keys = self.keys;
        match self.query {
            Query::Session => {
                let (tenth, rows) = (keys / 10, WIDTH_NS / self.interval_ns());
                format!("counter / {rows} % 10 * {tenth} + counter % {tenth}")
            }
            _ => format!("counter * 611953 % {keys}"),
        }
    }

    /// What Headwater is asked, over `key` and `value`.
    pub(super) fn stream_sql(&self) -> String {
        let grouped = |window: &str, from: &str| {
            format!("SELECT key, {window} AS window, {AGGREGATES} FROM {from} GROUP BY 1, 2")
        };
        let tumble = "tumble(INTERVAL '10 seconds')";
        let sum = |of: &str| {
            format!("SELECT key, {tumble} AS window, sum({of}) AS total FROM a GROUP BY 1, 2")
        };
        match self.query {
            Query::Tumble => grouped(tumble, "a"),
            Query::Total => {
                format!("SELECT {tumble} AS window, {AGGREGATES} FROM {BOTH} GROUP BY 1")
            }
            Query::Sum => sum("value"),
            Query::SumOfFloats => sum("value::DOUBLE"),
            Query::Changes => CHANGES.to_owned(),
            Query::Hop => grouped("hop(INTERVAL '1 second', INTERVAL '10 seconds')", "a"),
            Query::Session => grouped("session(INTERVAL '5 seconds')", "a"),
            Query::Join => format!(
                "SELECT x.key AS key, x.window AS window, x.n AS n, y.mean AS mean, y.highest AS highest
                 FROM ({}) AS x JOIN ({}) AS y ON x.key = y.key AND x.window = y.window",
                grouped(tumble, "a"),
                grouped(tumble, "b")
            ),
            Query::Over => OVER.to_owned(),
        }
    }

    /// What DataFusion is asked, over `key`, `value` and `at`.
    pub(super) fn batch_sql(&self) -> String {
        let grouped = |from: &str| {
            format!(
                "SELECT key, date_bin(INTERVAL '10 seconds', at) AS start, {AGGREGATES} FROM {from} GROUP BY 1, 2"
            )
        };
        let sum = |of: &str| {
            format!(
                "SELECT key, date_bin(INTERVAL '10 seconds', at) AS start, sum({of}) AS total FROM a GROUP BY 1, 2"
            )
        };
        match self.query {
            Query::Tumble => grouped("a"),
            Query::Total => format!(
                "SELECT date_bin(INTERVAL '10 seconds', at) AS start, {AGGREGATES} FROM {BOTH} GROUP BY 1"
            ),
            Query::Sum => sum("value"),
            Query::SumOfFloats => sum("value::DOUBLE"),
            Query::Changes => CHANGES.to_owned(),
            Query::Hop => format!(
                "SELECT key, start, count(*), avg(value), max(value) FROM ({}) GROUP BY 1, 2",
                hops("a")
            ),
            Query::Session => "
                SELECT key, min(at), count(*), avg(value), max(value) FROM (
                  SELECT *, sum(begins) OVER (PARTITION BY key ORDER BY at) AS id FROM (
                    SELECT *, CASE WHEN at - lag(at) OVER (PARTITION BY key ORDER BY at) < INTERVAL '5 seconds'
                      THEN 0 ELSE 1 END AS begins FROM a))
                GROUP BY key, id"
                .to_owned(),
            Query::Join => format!(
                "SELECT x.key, x.start, x.n, y.mean, y.highest
                 FROM ({}) AS x JOIN ({}) AS y ON x.key = y.key AND x.start = y.start",
                grouped("a"),
                grouped("b")
            ),
            Query::Over => OVER.to_owned(),
        }
    }
}

/// What is computed of each group.
const AGGREGATES: &str = "count(*) AS n, avg(value) AS mean, max(value) AS highest";

/// The rows of two sources.
const BOTH: &str = "(SELECT value, at FROM a UNION ALL SELECT value, at FROM b)";

/// Asked of a stream and of a batch alike.
const CHANGES: &str =
    "SELECT key, count(*) AS n, avg(value) AS mean, max(value) AS highest FROM a GROUP BY 1";

/// Likewise.
const OVER: &str = "
    SELECT key, value, lag(value) OVER (PARTITION BY key ORDER BY at) AS before,
      avg(value) OVER (PARTITION BY key ORDER BY at RANGE BETWEEN INTERVAL '10 seconds' PRECEDING AND CURRENT ROW) AS mean
    FROM a";

/// The rows of a table once for each of the hopping windows that they are in.
fn hops(table: &str) -> String {
    let hops = (0..10).map(|back| {
        format!("SELECT key, value, date_bin(INTERVAL '1 second', at) - INTERVAL '{back} seconds' AS start FROM {table}")
    });
    hops.collect::<Vec<_>>().join(" UNION ALL ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = Case::all(1).iter().map(Case::name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
