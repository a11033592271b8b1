-- What a device reports again and again becomes a message only where it has changed; and each
-- reading is compared with the average of the ten minutes before it.
CREATE TABLE readings (
  device      TEXT METADATA FROM 'topic[2]',
  state       TEXT NOT NULL,
  temperature DOUBLE NOT NULL,
  ts          TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS (ts - INTERVAL '2 seconds')
) WITH (
  connector = 'mqtt',
  type      = 'source',
  url       = 'mqtt://127.0.0.1:1883',
  topic     = 'devices/+/status',
  qos       = 'AtLeastOnce',
  format    = 'json',
  bad_data  = 'drop'
);

CREATE TABLE changes (device TEXT, before TEXT, state TEXT, ts TIMESTAMP) WITH (
  connector = 'mqtt',
  type      = 'sink',
  url       = 'mqtt://127.0.0.1:1883',
  topic     = 'changes/{device}',
  qos       = 'AtLeastOnce',
  format    = 'json'
);

CREATE TABLE outliers (device TEXT, temperature DOUBLE, mean DOUBLE, ts TIMESTAMP) WITH (
  connector = 'mqtt',
  type      = 'sink',
  url       = 'mqtt://127.0.0.1:1883',
  topic     = 'outliers/{device}',
  qos       = 'AtLeastOnce',
  format    = 'json'
);

INSERT INTO changes
SELECT device, before, state, ts FROM (
  SELECT device, state, ts, lag(state) OVER (PARTITION BY device ORDER BY ts) AS before
  FROM readings
) WHERE state IS DISTINCT FROM before;

INSERT INTO outliers
SELECT device, temperature, mean, ts FROM (
  SELECT device, temperature, ts,
         avg(temperature) OVER (
           PARTITION BY device ORDER BY ts
           RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND INTERVAL '1 millisecond' PRECEDING
         ) AS mean
  FROM readings
) WHERE abs(temperature - mean) > 5;
