-- EMQX: WebSocket with TLS and a token (JWT) as password.
--
-- EMQX listens on 1883 (mqtt://), 8883 (mqtts://), 8083 (ws://) and 8084 (wss://), the last two at the path /mqtt. With its
-- JWT authentication the token is the password; whether the user must be named in it is for the broker to say. A token
-- that has run out is refused at the next connection: the job ends with the broker's reason, and is started again
-- with a fresh one.
--
-- EMQX takes packets of up to 1 MB unless mqtt.max_packet_size says otherwise, and keeps a session no longer than
-- mqtt.session_expiry_interval (2 hours) for clients of MQTT 3.1.1; for those of MQTT 5 as long as they ask for.
--
--   EMQX_TOKEN=… headwater test-connection examples/brokers/emqx.sql
CREATE TABLE readings (
  topic       TEXT METADATA FROM 'topic',
  temperature DOUBLE NOT NULL,
  ts          TIMESTAMP NOT NULL
) WITH (
  connector = 'mqtt',
  type      = 'source',
  url       = 'wss://emqx.plant.example:8084/mqtt',
  tls.ca    = '/etc/headwater/ca.pem',
  username  = 'headwater',
  password  = '{{ EMQX_TOKEN }}',
  -- shared with other readers of the group
  topic     = '$share/headwater/sensors/+/temperature',
  qos       = 'AtLeastOnce',
  format    = 'json',
  bad_data  = 'drop'
);

CREATE TABLE alerts WITH (
  connector = 'mqtt',
  type      = 'sink',
  url       = 'wss://emqx.plant.example:8084/mqtt',
  tls.ca    = '/etc/headwater/ca.pem',
  username  = 'headwater',
  password  = '{{ EMQX_TOKEN }}',
  topic     = 'alerts/temperature',
  qos       = 'AtLeastOnce',
  format    = 'json'
);

INSERT INTO alerts
SELECT split_part(topic, '/', 2) AS device, temperature, ts
FROM readings
WHERE temperature > 70;
