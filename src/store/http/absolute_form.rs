//! Requests for `http` origins through a proxy, in absolute form (RFC 9112, section 3.2.2):
//!
//! ```text
//! GET http://deb.example/dists/bookworm/InRelease HTTP/1.1
//! ```
//!
//! `ureq` opens a tunnel with CONNECT for every scheme, which proxies commonly allow for port 443
//! alone. Here the proxy is the host of the request's address, and the address of the origin is its
//! path: [`AbsoluteForm`] removes the slash in front of it when the request line is sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::{HeaderValue, Uri};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Proxy};

use super::url::Url;

/// Returns the address that makes `ureq` send a request for `url` to `proxy`.
pub(super) fn uri(proxy: &Proxy, url: &Url) -> Option<Uri> {
    let scheme = proxy.uri().scheme_str().unwrap_or("http");
    let host = proxy.host();
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    format!("{scheme}://{host}:{}/{}", proxy.port(), url.uri()?).parse().ok()
}

/// Returns the `Proxy-Authorization` for `proxy`, if it has credentials (RFC 7617).
pub(super) fn authorization(proxy: &Proxy) -> Option<HeaderValue> {
    let (user, password) = (proxy.username(), proxy.password());
    if user.is_none() && password.is_none() {
        return None;
    }
    let pair = format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default());
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A connector that wraps connections to a proxy in [`AbsoluteForm`], and passes on others.
#[derive(Debug)]
pub(super) struct AbsoluteFormConnector {
    pub(super) proxied: bool,
}

/// A connection to a proxy that sends request targets in absolute form.
#[derive(Debug)]
pub(super) struct AbsoluteForm<T> {
    inner: T,
    proxied: bool,
    /// The next output begins with a request line.
    at_request_line: bool,
}

impl<In: Transport> Connector<In> for AbsoluteFormConnector {
    type Out = AbsoluteForm<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let proxied = self.proxied;
        Ok(chained.map(|inner| AbsoluteForm { inner, proxied, at_request_line: true }))
    }
}

impl<T: Transport> Transport for AbsoluteForm<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let begins = std::mem::replace(&mut self.at_request_line, false);
        let removed = self.proxied && begins && remove_slash(self.inner.buffers().output(), amount);
        self.inner.transmit_output(amount - usize::from(removed), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        // `ureq` reads a response to its head at least before the next request.
        self.at_request_line = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// Removes the slash between a method and an absolute address at the begin of `output`, of which
/// `amount` bytes are used. Returns whether it was there.
fn remove_slash(output: &mut [u8], amount: usize) -> bool {
    let Some(line) = output.get_mut(..amount) else { return false };
    let Some(slash) = line.iter().position(|byte| *byte == b' ').map(|space| space + 1) else { return false };
    let found = line.get(slash..).is_some_and(|target| target.starts_with(b"/http://"));
    if found {
        line.copy_within(slash + 1.., slash);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_loses_the_slash_in_front_of_an_address() {
        for (line, expected) in [
            ("GET /http://a.example/b?c HTTP/1.1\r\n", Some("GET http://a.example/b?c HTTP/1.1\r\n")),
            ("PUT /http://a.example/ HTTP/1.1\r\n", Some("PUT http://a.example/ HTTP/1.1\r\n")),
            ("GET /b HTTP/1.1\r\n", None),
            ("GET", None),
            ("", None),
        ] {
            let mut bytes = line.as_bytes().to_vec();
            let amount = bytes.len();
            // Output buffers are longer than their contents.
            bytes.extend(b"rest");
            let removed = remove_slash(&mut bytes, amount);
            assert_eq!(removed, expected.is_some(), "{line}");
            let kept = amount - usize::from(removed);
            assert_eq!(std::str::from_utf8(&bytes[..kept]).unwrap(), expected.unwrap_or(line));
        }
    }

    #[test]
    fn a_proxy_is_the_host_of_the_address() {
        let url = Url::parse("http://a.example:8080/b?c=d").unwrap();
        for (proxy, expected) in [
            ("http://p.example:3128", "http://p.example:3128/http://a.example:8080/b?c=d"),
            ("https://u:s@p.example:8443", "https://p.example:8443/http://a.example:8080/b?c=d"),
            ("http://[::1]:3128", "http://[::1]:3128/http://a.example:8080/b?c=d"),
        ] {
            let proxy = Proxy::new(proxy).unwrap();
            assert_eq!(uri(&proxy, &url).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn credentials_of_a_proxy_are_decoded_and_hidden() {
        let header = |proxy| authorization(&Proxy::new(proxy).unwrap());
        assert_eq!(header("http://p.example:3128"), None);
        let value = header("http://user:p%40ss@p.example:3128").unwrap();
        assert_eq!(value, format!("Basic {}", STANDARD.encode("user:p@ss")).as_str());
        assert!(!format!("{value:?}").contains("Basic"));
    }
}
