-- Every reading of every sensor is a row; readings above 70 °C become alerts.
CREATE TABLE readings (
  topic       TEXT METADATA FROM 'topic',
  temperature DOUBLE NOT NULL,
  unit        TEXT,
  ts          TIMESTAMP NOT NULL
) WITH (
  connector = 'mqtt',
  type      = 'source',
  url       = 'mqtt://127.0.0.1:1883',
  topic     = 'sensors/+/temperature',
  qos       = 'AtLeastOnce',
  format    = 'json',
  bad_data  = 'drop'
);

CREATE TABLE alerts WITH (
  connector = 'mqtt',
  type      = 'sink',
  url       = 'mqtt://127.0.0.1:1883',
  topic     = 'alerts',
  qos       = 'AtLeastOnce',
  format    = 'json'
);

INSERT INTO alerts
SELECT split_part(topic, '/', 2)           AS device,
       round(temperature * 1.8 + 32.0, 1)  AS fahrenheit,
       ts
FROM readings
WHERE temperature > 70 AND unit = 'celsius';
