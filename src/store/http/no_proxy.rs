//! `$NO_PROXY`: hosts reached without a proxy.
//!
//! The list of ureq supports neither ports nor address ranges, and matches `example.com` exactly;
//! Docker, Podman and curl match subdomains too.

use std::net::IpAddr;

use super::url::host_and_port;

/// Returns whether `authority` (`HOST[:PORT]`) is reached without a proxy. This machine always is.
pub(crate) fn bypasses(list: &str, authority: &str) -> bool {
    let (host, port) = host_and_port(authority);
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let (Some((network, bits)), Some(address)) = (entry.split_once('/'), address) {
            return network
                .parse()
                .is_ok_and(|network| bits.parse().is_ok_and(|bits| within(address, network, bits)));
        }
        let (name, wanted) = host_and_port(entry);
        if wanted.is_some() && wanted != port {
            return false;
        }
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix('*').unwrap_or(&name);
        match name.strip_prefix('.') {
            Some(domain) => is_below(&host, domain),
            None => host == name || (address.is_none() && is_below(&host, name)),
        }
    })
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

/// Returns whether the first `bits` of both are equal.
fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (address, network, all) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let differs = (address ^ network).checked_shr(all.max(bits) - bits);
    bits <= all && differs.unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_hosts_domains_ports_and_ranges() {
        for (list, authority, expected) in [
            ("", "a.example", false),
            ("*", "a.example", true),
            ("a.example", "a.example:5000", true),
            ("a.example:5000", "a.example:5000", true),
            ("a.example:5000", "a.example", false),
            ("example", "a.EXAMPLE", true),
            (".example", "a.example", true),
            (".example", "example", false),
            ("*.example", "a.example", true),
            ("ample", "a.example", false),
            ("b, a.example", "a.example", true),
            ("10.0.0.0/8", "10.1.2.3:5000", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("fd00::/8", "[fd00::1]:5000", true),
            ("fd00::/8", "10.0.0.1", false),
            ("", "localhost:5000", true),
            ("", "127.0.0.2", true),
            ("", "[::1]", true),
        ] {
            assert_eq!(bypasses(list, authority), expected, "{list} {authority}");
        }
    }
}
