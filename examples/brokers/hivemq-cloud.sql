-- HiveMQ Cloud: TLS with a certificate of a public authority (so no tls.ca), a user and a password.
--
-- The cluster's overview shows the host; users are made under "Access Management". Two ways in:
--   mqtts://<cluster>.s1.eu.hivemq.cloud:8883
--   wss://<cluster>.s1.eu.hivemq.cloud:8884/mqtt     where only web traffic may leave the network, perhaps with
--                                                    proxy = 'http://proxy.example:3128'
--
--   HIVEMQ_USER=… HIVEMQ_PASSWORD=… headwater test-connection examples/brokers/hivemq-cloud.sql
CREATE TABLE readings (
  topic       TEXT METADATA FROM 'topic',
  temperature DOUBLE NOT NULL,
  ts          TIMESTAMP NOT NULL
) WITH (
  connector = 'mqtt',
  type      = 'source',
  url       = 'wss://abcdef0123456789.s1.eu.hivemq.cloud:8884/mqtt',
  username  = '{{ HIVEMQ_USER }}',
  password  = '{{ HIVEMQ_PASSWORD }}',
  topic     = 'sensors/+/temperature',
  qos       = 'AtLeastOnce',
  format    = 'json',
  bad_data  = 'drop'
);

CREATE TABLE alerts WITH (
  connector = 'mqtt',
  type      = 'sink',
  url       = 'mqtts://abcdef0123456789.s1.eu.hivemq.cloud:8883',
  username  = '{{ HIVEMQ_USER }}',
  password  = '{{ HIVEMQ_PASSWORD }}',
  topic     = 'alerts/temperature',
  qos       = 'AtLeastOnce',
  format    = 'json'
);

INSERT INTO alerts
SELECT split_part(topic, '/', 2) AS device, temperature, ts
FROM readings
WHERE temperature > 70;
