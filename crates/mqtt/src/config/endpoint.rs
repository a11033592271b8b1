//! The broker's URL, and that of a proxy, taken apart.

use url::{Host, Url};

use crate::dial::Proxy;
use crate::options::Password;

/// Where a URL leads.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port, given or by the scheme.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Path and query of the WebSocket, if one is spoken.
    pub websocket: Option<String>,
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
        let scheme = Scheme::of(&scheme.to_ascii_lowercase())?;
        let url = parse_url(text, rest)?;
        let host = host(&url).ok_or_else(|| format!("has no host; write {}", scheme.example))?;
        let websocket = scheme.websocket.then(|| path_and_query(&url, rest));
        let beyond = !matches!(url.path(), "" | "/") || url.query().is_some();
        if url.fragment().is_some() || (beyond && websocket.is_none()) {
            return Err(beyond_host(rest, &scheme));
        }
        let (username, password) = login(&url);
        Ok(Self {
            host,
            port: url.port().unwrap_or(scheme.port),
            tls: scheme.tls,
            websocket,
            username,
            password,
        })
    }
}

/// Takes the URL of an HTTP proxy apart.
///
/// # Errors
/// As [`Endpoint::parse`].
pub fn parse_proxy(text: &str) -> Result<Proxy, String> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("has no scheme; write http://host:port".to_owned());
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => {
            return Err(
                "asks for TLS to the proxy, which is not supported; write http://host:port"
                    .to_owned(),
            );
        }
        _ => return Err("is not an HTTP proxy; write http://host:port".to_owned()),
    }
    let url = parse_url(text, rest)?;
    let host = host(&url).ok_or("has no host; write http://host:port")?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(match rest.contains('@') {
            true => format!("has more than host and port; {ENCODE}"),
            false => "has more than host and port; write http://host:port".to_owned(),
        });
    }
    let (username, password) = login(&url);
    if username.as_deref().unwrap_or_default().contains(':') {
        return Err("has a user with a ':', which proxies cannot be told".to_owned());
    }
    Ok(Proxy {
        host,
        port: url.port().unwrap_or(80),
        login: username.map(|user| (user, Password::new(password.unwrap_or_default()))),
    })
}

struct Scheme {
    tls: bool,
    websocket: bool,
    /// The port if none is given.
    port: u16,
    example: &'static str,
}

impl Scheme {
    fn of(scheme: &str) -> Result<Self, String> {
        let (tls, websocket, port, example) = match scheme {
            "mqtt" | "tcp" => (false, false, 1883, "mqtt://host:1883"),
            "mqtts" | "ssl" => (true, false, 8883, "mqtts://host:8883"),
            "ws" => (false, true, 80, "ws://host:8083/mqtt"),
            "wss" => (true, true, 443, "wss://host/mqtt"),
            "http" | "https" => {
                return Err("is a web address; write mqtt://host:1883, or for MQTT over WebSocket ws://host:port/mqtt or wss://host/mqtt".to_owned());
            }
            _ => {
                return Err(
                    "has an unknown scheme; the schemes are mqtt, tcp, mqtts, ssl, ws and wss"
                        .to_owned(),
                );
            }
        };
        Ok(Self {
            tls,
            websocket,
            port,
            example,
        })
    }
}

fn parse_url(text: &str, rest: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|e| match rest.contains('@') {
        true => format!("is no valid URL: {e}; {ENCODE}"),
        false => format!("is no valid URL: {e}"),
    })
}

fn host(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Domain("") => None,
        Host::Domain(name) => Some(name.to_owned()),
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
    }
}

/// User and password within a URL.
fn login(url: &Url) -> (Option<String>, Option<String>) {
    let decoded = |text: &str| decode(text).filter(|text| !text.is_empty());
    (decoded(url.username()), url.password().and_then(decoded))
}

/// `/mqtt`, where brokers mostly listen, if the URL has no path; a lone `/` is a path.
fn path_and_query(url: &Url, rest: &str) -> String {
    let has_path = rest
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .contains('/');
    let path = if has_path { url.path() } else { "/mqtt" };
    match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

fn beyond_host(rest: &str, scheme: &Scheme) -> String {
    if scheme.websocket {
        return "has a fragment ('#'); in a path, write it as %23".to_owned();
    }
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
    use super::{Endpoint, parse_proxy};

    fn tell(url: &str) -> String {
        match Endpoint::parse(url) {
            Ok(e) => {
                let tls = if e.tls { " tls" } else { "" };
                let login = format!("{:?} {:?}", e.username, e.password);
                let path = e.websocket.unwrap_or_default();
                format!("{} {}{path}{tls} {login}", e.host, e.port)
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
            "ws://host/",
            "ws://user:p%2F@host:8083?token=x",
            "wss://[::1]/a/b?c=d",
            "wss://host/a#b",
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
        ws://host → host 80/mqtt None None
        ws://host/ → host 80/ None None
        ws://user:p%2F@host:8083?token=x → host 8083/mqtt?token=x Some("user") Some("p/")
        wss://[::1]/a/b?c=d → ::1 443/a/b?c=d tls None None
        wss://host/a#b → has a fragment ('#'); in a path, write it as %23
        http://host → is a web address; write mqtt://host:1883, or for MQTT over WebSocket ws://host:port/mqtt or wss://host/mqtt
        mqqt://host → has an unknown scheme; the schemes are mqtt, tcp, mqtts, ssl, ws and wss
        mqtt:// → has no host; write mqtt://host:1883
        mqtt://host:99999 → is no valid URL: invalid port number
        mqtt://host/sensors → has more than host and port; the topic belongs into the option 'topic'
        mqtt://user:a/b@host → is no valid URL: invalid port number; in a password, write '/' as %2F, '?' as %3F, '#' as %23 and '@' as %40
        "#);
    }

    #[test]
    fn proxies() {
        let all = [
            "http://proxy.example.com:3128",
            "http://user:p%40ss@[::1]:3128/",
            "http://user@proxy",
            "proxy:3128",
            "https://proxy:3128",
            "socks5://proxy:1080",
            "http://proxy:3128/path",
            "http://",
            "http://a%3Ab:c@proxy",
        ];
        let tell = |text: &str| match parse_proxy(text) {
            Ok(proxy) => {
                let login = proxy
                    .login
                    .as_ref()
                    .map(|(user, password)| format!(" {user}:{}", password.expose()));
                format!("{}{}", proxy.address(), login.unwrap_or_default())
            }
            Err(reason) => reason,
        };
        let lines: Vec<_> = all
            .iter()
            .map(|url| format!("{url} → {}", tell(url)))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        http://proxy.example.com:3128 → proxy.example.com:3128
        http://user:p%40ss@[::1]:3128/ → [::1]:3128 user:p@ss
        http://user@proxy → proxy:80 user:
        proxy:3128 → has no scheme; write http://host:port
        https://proxy:3128 → asks for TLS to the proxy, which is not supported; write http://host:port
        socks5://proxy:1080 → is not an HTTP proxy; write http://host:port
        http://proxy:3128/path → has more than host and port; write http://host:port
        http:// → is no valid URL: empty host
        http://a%3Ab:c@proxy → has a user with a ':', which proxies cannot be told
        ");
    }
}
