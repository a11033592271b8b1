//! Joins, and functions over windows.

use crate::{Case, case};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case(
            "windows joined",
            "SELECT x.window.start AS s, x.device, x.n, y.n AS m FROM (
               SELECT device, tumble(INTERVAL '10 seconds') AS window, count(*) AS n FROM a GROUP BY 1, 2) x
             JOIN (
               SELECT device, tumble(INTERVAL '10 seconds') AS window, count(*) AS n FROM b GROUP BY 1, 2) y
             ON x.device = y.device AND x.window = y.window AND x.n % 2 = y.n % 2 AND x.n + 1 > y.n",
            "SELECT x.s, x.device, x.n, y.n FROM (
               SELECT date_bin(INTERVAL '10 seconds', ts) AS s, device, count(*) AS n FROM a GROUP BY 1, 2) x
             JOIN (
               SELECT date_bin(INTERVAL '10 seconds', ts) AS s, device, count(*) AS n FROM b GROUP BY 1, 2) y
             ON x.device = y.device AND x.s = y.s AND x.n % 2 = y.n % 2 AND x.n + 1 > y.n",
        ),
        case(
            "windows joined, those without a partner too, and grouped by the window once more",
            "SELECT window.start AS s, count(*) AS n, sum(n) AS ns, sum(m) AS ms FROM (
               SELECT coalesce(x.window, y.window) AS window, n, m FROM (
                 SELECT device, tumble(INTERVAL '10 seconds') AS window, count(*) AS n FROM a GROUP BY 1, 2) x
               FULL JOIN (
                 SELECT device, tumble(INTERVAL '10 seconds') AS window, sum(value) AS m FROM b GROUP BY 1, 2) y
               ON x.device = y.device AND x.window = y.window)
             GROUP BY window",
            "SELECT s, count(*), sum(n), sum(m) FROM (
               SELECT coalesce(x.s, y.s) AS s, n, m FROM (
                 SELECT date_bin(INTERVAL '10 seconds', ts) AS s, device, count(*) AS n FROM a GROUP BY 1, 2) x
               FULL JOIN (
                 SELECT date_bin(INTERVAL '10 seconds', ts) AS s, device, sum(value) AS m FROM b GROUP BY 1, 2) y
               ON x.device = y.device AND x.s = y.s)
             GROUP BY s",
        ),
        case(
            "streams joined within a time to live, with what is wanted of each",
            "SET updating_ttl = '20 seconds';
             SELECT a.device, a.value, b.value AS other, a.ts, b.ts AS then FROM a, b
             WHERE a.device = b.device AND a.value > 20 AND b.value < 80 AND a.value <> b.value",
            "SELECT a.device, a.value, b.value, a.ts, b.ts FROM a JOIN b ON a.device = b.device
             WHERE a.ts <= b.ts + INTERVAL '20 seconds' AND b.ts <= a.ts + INTERVAL '20 seconds'
               AND a.value > 20 AND b.value < 80 AND a.value <> b.value",
        ),
        case(
            "streams joined by what is computed, in another order than they are written in",
            "SELECT a.value, b.value AS other, c.value AS third FROM a, b, a AS c
             WHERE a.value % 10 = c.value / 10 AND b.value = c.value AND upper(b.device) = upper(c.device)",
            "SELECT a.value, b.value, c.value FROM a, b, a AS c
             WHERE a.value % 10 = c.value / 10 AND b.value = c.value AND upper(b.device) = upper(c.device)",
        ),
        case(
            "ranked within each window",
            "SELECT window.start AS s, device, total, place, before, alike FROM (
               SELECT window, device, total,
                 row_number() OVER (PARTITION BY window ORDER BY total DESC, device NULLS LAST) AS place,
                 lag(total) OVER (PARTITION BY window ORDER BY total DESC, device NULLS LAST) AS before,
                 sum(total * 2) OVER (PARTITION BY window, total % 2) AS alike
               FROM (SELECT tumble(INTERVAL '10 seconds') AS window, device, sum(value) AS total FROM a GROUP BY 1, 2))
             WHERE place <= 2",
            "SELECT s, device, total, place, before, alike FROM (
               SELECT s, device, total,
                 row_number() OVER (PARTITION BY s ORDER BY total DESC, device NULLS LAST) AS place,
                 lag(total) OVER (PARTITION BY s ORDER BY total DESC, device NULLS LAST) AS before,
                 sum(total * 2) OVER (PARTITION BY s, total % 2) AS alike
               FROM (SELECT date_bin(INTERVAL '10 seconds', ts) AS s, device, sum(value) AS total FROM a GROUP BY 1, 2))
             WHERE place <= 2",
        ),
        case(
            "looked up in a memory table that changes until it has been read whole",
            "CREATE TABLE latest (device TEXT PRIMARY KEY, n BIGINT, total BIGINT);
             INSERT INTO latest SELECT device, count(*), sum(value) FROM b GROUP BY device;
             SELECT a.device, a.value, a.ts, l.n, l.total FROM a LEFT JOIN latest l ON a.device = l.device AND a.value < l.total",
            "SELECT a.device, a.value, a.ts, l.n, l.total FROM a LEFT JOIN
               (SELECT device, count(*) AS n, sum(value) AS total FROM b GROUP BY device) l
             ON a.device = l.device AND a.value < l.total",
        ),
        case(
            "looked up in memory tables, by two columns, and in one that it writes itself, on the way to a window",
            "CREATE TABLE pairs (rest BIGINT, device TEXT, twice TEXT, PRIMARY KEY (device, rest));
             INSERT INTO pairs SELECT value % 5, device, device || device FROM b;
             CREATE TABLE own (value BIGINT PRIMARY KEY, n BIGINT);
             INSERT INTO own SELECT value, count(*) FROM a GROUP BY value;
             SELECT window.start AS s, twice, n, often FROM (
               SELECT tumble(INTERVAL '10 seconds') AS window, twice, count(*) AS n, sum(own.n) AS often
               FROM a JOIN pairs p ON p.device = a.device AND p.rest = a.value % 5 JOIN own ON own.value = a.value
               GROUP BY window, twice)",
            "SELECT date_bin(INTERVAL '10 seconds', a.ts), p.twice, count(*), sum(o.n)
             FROM a JOIN (SELECT DISTINCT value % 5 AS rest, device, device || device AS twice FROM b) p
               ON p.device = a.device AND p.rest = a.value % 5
             JOIN (SELECT value, count(*) AS n FROM a GROUP BY value) o ON o.value = a.value
             GROUP BY 1, 2",
        ),
    ]
}
