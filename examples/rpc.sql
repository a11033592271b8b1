-- Request and response in both directions, in SQL only.
--
-- 1. Answering: whoever publishes to rpc/<device>/<method> with a response topic (MQTT 5) is answered there, and the
--    correlation data of the request comes back with the answer, so that the caller knows which request it belongs to.
CREATE TABLE requests (
  argument TEXT,
  device   TEXT METADATA FROM 'topic.device',
  method   TEXT METADATA FROM 'topic.method',
  reply_to TEXT METADATA FROM 'response_topic',
  id       BYTEA METADATA FROM 'correlation_data'
) WITH (
  connector = 'mqtt',
  type      = 'source',
  url       = 'mqtt://127.0.0.1:1883',
  topic     = 'rpc/{device}/{method}',
  qos       = 'AtLeastOnce',
  format    = 'json',
  bad_data  = 'drop'
);

CREATE TABLE answers (
  device   TEXT,
  result   TEXT,
  reply_to TEXT METADATA FROM 'topic',
  id       BYTEA METADATA FROM 'correlation_data'
) WITH (
  connector    = 'mqtt',
  type         = 'sink',
  url          = 'mqtt://127.0.0.1:1883',
  qos          = 'AtLeastOnce',
  format       = 'json',
  content_type = 'application/json',
  bad_data     = 'drop'
);

INSERT INTO answers
SELECT device,
       CASE method WHEN 'echo' THEN argument
                   WHEN 'upper' THEN upper(argument)
                   ELSE concat('unknown method ', method) END,
       reply_to,
       id
FROM requests
WHERE reply_to IS NOT NULL;

-- 2. Calling: a reading that is too hot makes a request to its device. The device answers to replies/<device>, which is
--    a table like any other; the correlation data tells which reading the answer belongs to.
CREATE TABLE readings (
  seq         BIGINT NOT NULL,
  temperature DOUBLE NOT NULL,
  device      TEXT METADATA FROM 'topic.device'
) WITH (
  connector = 'mqtt',
  type      = 'source',
  url       = 'mqtt://127.0.0.1:1883',
  topic     = 'sensors/{device}/temperature',
  qos       = 'AtLeastOnce',
  format    = 'json',
  bad_data  = 'drop'
);

CREATE TABLE calls (
  command  TEXT,
  device   TEXT METADATA FROM 'topic.device',
  reply_to TEXT METADATA FROM 'response_topic',
  id       TEXT METADATA FROM 'correlation_data'
) WITH (
  connector      = 'mqtt',
  type           = 'sink',
  url            = 'mqtt://127.0.0.1:1883',
  topic          = 'devices/{device}/commands',
  qos            = 'AtLeastOnce',
  format         = 'json',
  message_expiry = '1 minute'
);

INSERT INTO calls
SELECT 'cool', device, concat('replies/', device), CAST(seq AS TEXT)
FROM readings
WHERE temperature > 70;

CREATE TABLE replies (
  ok     BOOLEAN,
  device TEXT METADATA FROM 'topic.device',
  seq    TEXT METADATA FROM 'correlation_data'
) WITH (
  connector = 'mqtt',
  type      = 'source',
  url       = 'mqtt://127.0.0.1:1883',
  topic     = 'replies/{device}',
  qos       = 'AtLeastOnce',
  format    = 'json',
  bad_data  = 'drop'
);

CREATE TABLE outcomes WITH (
  connector = 'mqtt',
  type      = 'sink',
  url       = 'mqtt://127.0.0.1:1883',
  topic     = 'outcomes',
  qos       = 'AtLeastOnce',
  format    = 'json'
);

INSERT INTO outcomes
SELECT device, CAST(seq AS BIGINT) AS seq, ok
FROM replies;
