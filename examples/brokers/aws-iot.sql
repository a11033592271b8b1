-- AWS IoT Core: a client certificate instead of a user, on port 443, where ALPN tells MQTT from HTTPS.
--
-- The host is what `aws iot describe-endpoint --endpoint-type iot:Data-ATS` answers. Its certificate is of Amazon's
-- public authority, which systems know; where not, give AmazonRootCA1.pem as tls.ca. Certificate and key are those of
-- the thing (the key comes as PKCS#1). On port 8883 tls.alpn is not needed.
--
-- The certificate's policy must allow, all of it without a word when it does not (the connection is closed):
--   iot:Connect    arn:aws:iot:REGION:ACCOUNT:client/headwater_*
--   iot:Subscribe  arn:aws:iot:REGION:ACCOUNT:topicfilter/sensors/+/temperature
--   iot:Receive    arn:aws:iot:REGION:ACCOUNT:topic/sensors/*
--   iot:Publish    arn:aws:iot:REGION:ACCOUNT:topic/alerts/*
-- and for `headwater test-connection` to prove more: Publish, Subscribe and Receive on headwater/probe/*.
--
-- AWS IoT has no QoS 2, takes messages of up to 128 KiB, and topics of up to seven slashes.
CREATE TABLE readings (
  topic       TEXT METADATA FROM 'topic',
  temperature DOUBLE NOT NULL,
  ts          TIMESTAMP NOT NULL
) WITH (
  connector = 'mqtt',
  type      = 'source',
  url       = 'mqtts://a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com:443',
  tls.alpn  = 'x-amzn-mqtt-ca',
  tls.cert  = '/etc/headwater/aws/certificate.pem.crt',
  tls.key   = '/etc/headwater/aws/private.pem.key',
  topic     = 'sensors/+/temperature',
  qos       = 'AtLeastOnce',
  format    = 'json',
  bad_data  = 'drop'
);

CREATE TABLE alerts WITH (
  connector = 'mqtt',
  type      = 'sink',
  url       = 'mqtts://a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com:443',
  tls.alpn  = 'x-amzn-mqtt-ca',
  tls.cert  = '/etc/headwater/aws/certificate.pem.crt',
  tls.key   = '/etc/headwater/aws/private.pem.key',
  topic     = 'alerts/temperature',
  qos       = 'AtLeastOnce',
  format    = 'json'
);

INSERT INTO alerts
SELECT split_part(topic, '/', 2) AS device, temperature, ts
FROM readings
WHERE temperature > 70;
