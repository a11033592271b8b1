//! Headwater mqtt.
