//! The broker's URL, taken apart.

use url::{Host, Url};

/// Where a URL leads.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port, given or by the scheme.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The user within the URL.
    pub username: Option<String>,
    /// The password within the URL.
    pub password: Option<String>,
}

const ENCODE: &str = "in a password, write '/' as %2F, '?' as %3F, '#' as %23 and '@' as %40";

impl Endpoint {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead, without quoting it: a sentence to follow its name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty; write mqtt://host:1883".to_owned());
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(match text.contains(['@', '/', ' ']) {
                true => "has no scheme; write mqtt://host:1883".to_owned(),
                false => format!("has no scheme; did you mean 'mqtt://{text}'?"),
            });
        };
        let tls = scheme_tls(&scheme.to_ascii_lowercase())?;
        let url = Url::parse(text).map_err(|e| match rest.contains('@') {
            true => format!("is no valid URL: {e}; {ENCODE}"),
            false => format!("is no valid URL: {e}"),
        })?;
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(format!("has no host; write {scheme}://host:1883")),
        };
        let beyond = url.query().is_some() || url.fragment().is_some();
        if !matches!(url.path(), "" | "/") || beyond {
            return Err(beyond_host(rest));
        }
        let decoded = |text: &str| decode(text).filter(|text| !text.is_empty());
        Ok(Self {
            host,
            port: url.port().unwrap_or(if tls { 8883 } else { 1883 }),
            tls,
            username: decoded(url.username()),
            password: url.password().and_then(decoded),
        })
    }
}

fn scheme_tls(scheme: &str) -> Result<bool, String> {
    match scheme {
        "mqtt" | "tcp" => Ok(false),
        "mqtts" | "ssl" => Ok(true),
        "ws" | "wss" => Err(
            "asks for MQTT over WebSocket, which is not supported yet; use the broker's mqtt:// or mqtts:// port"
                .to_owned(),
        ),
        "http" | "https" => Err("is a web address; write mqtt://host:1883 or mqtts://host:8883".to_owned()),
        _ => Err("has an unknown scheme; the schemes are mqtt, tcp, mqtts and ssl".to_owned()),
    }
}

fn beyond_host(rest: &str) -> String {
    match rest.contains('@') {
        // A password with a '/' would otherwise be read as host and path.
        true => format!("has more than host and port; {ENCODE}"),
        false => {
            "has more than host and port; the topic belongs into the option 'topic'".to_owned()
        }
    }
}

/// Percent-decoding; `None` for what does not become UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| first == b'%');
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    fn tell(url: &str) -> String {
        match Endpoint::parse(url) {
            Ok(e) => {
                let tls = if e.tls { " tls" } else { "" };
                let login = format!("{:?} {:?}", e.username, e.password);
                format!("{} {}{tls} {login}", e.host, e.port)
            }
            Err(reason) => reason,
        }
    }

    #[test]
    fn urls() {
        let all = [
            "mqtt://localhost",
            "tcp://10.0.0.1:2883/",
            "mqtts://broker.example.com",
            "ssl://broker.example.com:443",
            "MQTT://Localhost",
            "mqtt://[::1]:1884",
            "mqtt://user:p%40ss%2F@host",
            "mqtt://user@host",
            "localhost:1883",
            "localhost",
            "user:secret@host",
            "",
            "ws://host",
            "http://host",
            "mqqt://host",
            "mqtt://",
            "mqtt://host:99999",
            "mqtt://host/sensors",
            "mqtt://user:a/b@host",
        ];
        let lines: Vec<_> = all
            .iter()
            .map(|url| format!("{url} → {}", tell(url)))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        mqtt://localhost → localhost 1883 None None
        tcp://10.0.0.1:2883/ → 10.0.0.1 2883 None None
        mqtts://broker.example.com → broker.example.com 8883 tls None None
        ssl://broker.example.com:443 → broker.example.com 443 tls None None
        MQTT://Localhost → Localhost 1883 None None
        mqtt://[::1]:1884 → ::1 1884 None None
        mqtt://user:p%40ss%2F@host → host 1883 Some("user") Some("p@ss/")
        mqtt://user@host → host 1883 Some("user") None
        localhost:1883 → has no scheme; did you mean 'mqtt://localhost:1883'?
        localhost → has no scheme; did you mean 'mqtt://localhost'?
        user:secret@host → has no scheme; write mqtt://host:1883
         → is empty; write mqtt://host:1883
        ws://host → asks for MQTT over WebSocket, which is not supported yet; use the broker's mqtt:// or mqtts:// port
        http://host → is a web address; write mqtt://host:1883 or mqtts://host:8883
        mqqt://host → has an unknown scheme; the schemes are mqtt, tcp, mqtts and ssl
        mqtt:// → has no host; write mqtt://host:1883
        mqtt://host:99999 → is no valid URL: invalid port number
        mqtt://host/sensors → has more than host and port; the topic belongs into the option 'topic'
        mqtt://user:a/b@host → is no valid URL: invalid port number; in a password, write '/' as %2F, '?' as %3F, '#' as %23 and '@' as %40
        "#);
    }
}
