-- Mosquitto on your own machines: TLS with an authority of your own, a user and a password.
--
-- mosquitto.conf:                          the profile's options below:
--   listener 8883                            url      = 'mqtts://broker.plant.example'
--   cafile   /etc/mosquitto/ca.pem           tls.ca   = '/etc/headwater/ca.pem'   (the same authority)
--   certfile /etc/mosquitto/broker.pem
--   keyfile  /etc/mosquitto/broker.key
--   require_certificate true                 tls.cert, tls.key: only if the broker asks for a certificate
--   password_file /etc/mosquitto/passwords   username, password
--   acl_file /etc/mosquitto/acl              user headwater / topic read sensors/# / topic write alerts/#
--   max_inflight_messages 0                  with MQTT 3.1.1 no more than 20 messages would be on their way at once
--   max_queued_messages 0                    beyond 1000, Mosquitto would drop what waits for a job that is away
--
--   HEADWATER_PASSWORD=… headwater test-connection examples/brokers/mosquitto.sql
--   HEADWATER_PASSWORD=… headwater run examples/brokers/mosquitto.sql
CREATE TABLE readings (
  topic       TEXT METADATA FROM 'topic',
  temperature DOUBLE NOT NULL,
  ts          TIMESTAMP NOT NULL
) WITH (
  connector = 'mqtt',
  type      = 'source',
  url       = 'mqtts://broker.plant.example:8883',
  tls.ca    = '/etc/headwater/ca.pem',
  username  = 'headwater',
  password  = '{{ HEADWATER_PASSWORD }}',
  topic     = 'sensors/+/temperature',
  qos       = 'AtLeastOnce',
  format    = 'json',
  bad_data  = 'drop'
);

CREATE TABLE alerts WITH (
  connector = 'mqtt',
  type      = 'sink',
  url       = 'mqtts://broker.plant.example:8883',
  tls.ca    = '/etc/headwater/ca.pem',
  username  = 'headwater',
  password  = '{{ HEADWATER_PASSWORD }}',
  topic     = 'alerts/temperature',
  qos       = 'AtLeastOnce',
  format    = 'json'
);

INSERT INTO alerts
SELECT split_part(topic, '/', 2) AS device, temperature, ts
FROM readings
WHERE temperature > 70;
