//! One address for broker and topic: `mqtt://host:1883/sensors/+/temperature`.
//!
//! What follows the first `/` after the host is the topic or topic filter as it is, without any escapes, since `#`, `+`
//! and `%` mean something in topics. A topic that begins with `/` therefore follows two of them. The URL of a WebSocket
//! has a path of its own, so it names no topic.

use headwater_connector::config::ConfigError;
use headwater_connector::{Options, SqlOption};

/// The options `url` and `topic` that an address stands for.
///
/// # Errors
/// An address whose password holds a `/`, which would be cut in two. All other faults are found when the options are
/// read.
pub(crate) fn options(location: &str) -> Result<Options, ConfigError> {
    let location = location.trim();
    if location.is_empty() {
        return Ok(Options::default());
    }
    let (url, topic) = divide(location);
    if topic.contains('@') && !has_plausible_port(url) {
        let message =
            "option 'url': the location has a '/' before its '@'; in a password, write '/' as %2F";
        return Err(ConfigError::new(Some("url"), message));
    }
    let mut options = vec![SqlOption::new("url", url)];
    if !topic.is_empty() {
        options.push(SqlOption::new("topic", topic));
    }
    Ok(Options(options))
}

fn divide(location: &str) -> (&str, &str) {
    let Some((scheme, rest)) = location.split_once("://") else {
        return (location, "");
    };
    if scheme.eq_ignore_ascii_case("ws") || scheme.eq_ignore_ascii_case("wss") {
        return (location, "");
    }
    match rest.find('/') {
        Some(slash) => {
            let url = scheme.len() + "://".len() + slash;
            (&location[..url], &location[url + 1..])
        }
        None => (location, ""),
    }
}

/// Whether what follows the last `:` of host and port may be a port, or there is none.
fn has_plausible_port(url: &str) -> bool {
    let host = url.rsplit_once('@').map_or(url, |(_, host)| host);
    let host = host.split_once("://").map_or(host, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((_, port)) => port.bytes().all(|b| b.is_ascii_digit()) || host.ends_with(']'),
        None => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn check(location: &str, expect: &[(&str, &str)]) {
        let options = options(location).unwrap().0;
        let got: Vec<_> = options
            .iter()
            .map(|option| (option.key.as_str(), option.value.as_str()))
            .collect();
        assert_eq!(got, expect, "{location}");
    }

    #[test]
    fn an_address_is_a_broker_and_a_topic() {
        check("", &[]);
        check("mqtt://h", &[("url", "mqtt://h")]);
        check("mqtt://h:1883/", &[("url", "mqtt://h:1883")]);
        check(
            "mqtt://h:1883/a/+/b",
            &[("url", "mqtt://h:1883"), ("topic", "a/+/b")],
        );
        check(
            "mqtts://u:p@[::1]/a/{d}/#",
            &[("url", "mqtts://u:p@[::1]"), ("topic", "a/{d}/#")],
        );
        check(
            "tcp://h//a?b%20",
            &[("url", "tcp://h"), ("topic", "/a?b%20")],
        );
        check("mqtt://h/a@b", &[("url", "mqtt://h"), ("topic", "a@b")]);
        check(
            "mqtt://u:{{ PW }}@h/a",
            &[("url", "mqtt://u:{{ PW }}@h"), ("topic", "a")],
        );
        check("wss://h/mqtt", &[("url", "wss://h/mqtt")]);
        check("{{ URL }}", &[("url", "{{ URL }}")]);
    }

    #[test]
    fn a_password_is_not_cut_in_two() {
        let error = options("mqtt://u:secr/et@h/a").unwrap_err().to_string();
        insta::assert_snapshot!(error, @"option 'url': the location has a '/' before its '@'; in a password, write '/' as %2F");
    }
}
