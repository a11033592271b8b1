//! Functions over the rows before each row. (In which order rows of the same time are is not the same in a batch, so what
//! depends on it, `ROWS` and `lag`, is asked of rows that are alone in their time.)

use crate::{Case, case};

pub(crate) fn cases() -> Vec<Case> {
    let same = |name, sql: &'static str| case(name, sql, sql);
    vec![
        same(
            "aggregates of the last seconds, of a key that may be null",
            "SELECT device, value, ts,
               count(*) OVER (PARTITION BY device ORDER BY ts RANGE BETWEEN INTERVAL '7 seconds' PRECEDING AND CURRENT ROW) AS n,
               avg(value) OVER (PARTITION BY device ORDER BY ts RANGE BETWEEN INTERVAL '7 seconds' PRECEDING AND CURRENT ROW) AS mean,
               max(value * 2) FILTER (WHERE value < 50) OVER (
                 PARTITION BY device ORDER BY ts RANGE BETWEEN INTERVAL '20 seconds' PRECEDING AND INTERVAL '2 seconds' PRECEDING) AS low,
               count(DISTINCT value % 5) OVER (PARTITION BY device ORDER BY ts RANGE INTERVAL '9 seconds' PRECEDING) AS few
             FROM a",
        ),
        same(
            "of all rows, by what is computed, and without a key",
            "SELECT value, sum(value) OVER (PARTITION BY value % 3 ORDER BY ts) AS total, min(value) OVER (ORDER BY ts) AS least,
               count(*) OVER (ORDER BY ts RANGE INTERVAL '1 second' PRECEDING) AS together
             FROM a WHERE value <> 13",
        ),
        case(
            "of windows, which are alone in their time: the rows before, so many rows",
            "SELECT device, s, total,
               lag(total) OVER (PARTITION BY device ORDER BY s) AS before, lag(total, 3, -1) OVER (PARTITION BY device ORDER BY s) AS third,
               sum(total) OVER (PARTITION BY device ORDER BY s ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS of_5,
               median(total) OVER (PARTITION BY device ORDER BY s ROWS BETWEEN 4 PRECEDING AND 1 PRECEDING) AS middle,
               first_value(total) OVER (PARTITION BY device ORDER BY s ROWS 2 PRECEDING) AS first,
               row_number() OVER (PARTITION BY device ORDER BY s) AS n
             FROM (
               SELECT device, window.start AS s, total FROM (
                 SELECT device, tumble(INTERVAL '3 seconds') AS window, sum(value) AS total FROM a GROUP BY device, window))",
            "SELECT device, s, total,
               lag(total) OVER (PARTITION BY device ORDER BY s), lag(total, 3, -1) OVER (PARTITION BY device ORDER BY s),
               sum(total) OVER (PARTITION BY device ORDER BY s ROWS BETWEEN 4 PRECEDING AND CURRENT ROW),
               median(total) OVER (PARTITION BY device ORDER BY s ROWS BETWEEN 4 PRECEDING AND 1 PRECEDING),
               first_value(total) OVER (PARTITION BY device ORDER BY s ROWS 2 PRECEDING),
               row_number() OVER (PARTITION BY device ORDER BY s)
             FROM (SELECT device, date_bin(INTERVAL '3 seconds', ts) AS s, sum(value) AS total FROM a GROUP BY 1, 2)",
        ),
        case(
            "two sources together, twice, and grouped by windows",
            "SELECT window.start AS s, ns, most FROM (
               SELECT tumble(INTERVAL '10 seconds') AS window, sum(n) AS ns, max(step) AS most FROM (
                 SELECT n, n - min(n) OVER (ORDER BY ts RANGE INTERVAL '3 seconds' PRECEDING) AS step FROM (
                   SELECT ts, count(*) OVER (PARTITION BY device ORDER BY ts RANGE INTERVAL '5 seconds' PRECEDING) AS n FROM (
                     SELECT device, ts FROM a UNION ALL SELECT device, ts FROM b)))
               GROUP BY window)",
            "SELECT date_bin(INTERVAL '10 seconds', ts), sum(n), max(step) FROM (
               SELECT ts, n, n - min(n) OVER (ORDER BY ts RANGE INTERVAL '3 seconds' PRECEDING) AS step FROM (
                 SELECT ts, count(*) OVER (PARTITION BY device ORDER BY ts RANGE INTERVAL '5 seconds' PRECEDING) AS n FROM (
                   SELECT device, ts FROM a UNION ALL SELECT device, ts FROM b)))
             GROUP BY 1",
        ),
    ]
}
