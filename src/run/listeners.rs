//! The addresses on which a container listens, as the kernel lists them (proc_pid_net(5), `tcp` and `tcp6`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The state of a socket that accepts connections: `TCP_LISTEN` of the kernel's `tcp_states.h`.
const LISTEN: &str = "0A";

/// Returns true if sockets in the network of process `init` listen on `port`, all of them on a loopback address.
pub(super) fn are_local(init: i32, port: u16) -> bool {
    let tables = ["tcp", "tcp6"].map(|name| fs_err::read_to_string(format!("/proc/{init}/net/{name}")));
    let addresses: Vec<IpAddr> = tables.iter().flatten().flat_map(|table| addresses(table, port)).collect();
    !addresses.is_empty() && addresses.into_iter().all(is_loopback)
}

/// Returns the addresses of a table whose sockets listen on `port`.
fn addresses(table: &str, port: u16) -> impl Iterator<Item = IpAddr> {
    table.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, of_socket) = fields.next()?.split_once(':')?;
        let is_listening = fields.nth(1)? == LISTEN;
        (is_listening && u16::from_str_radix(of_socket, 16).ok()? == port).then(|| parse(address)).flatten()
    })
}

/// Parses an address: words of 32 bits, each a number of this machine's byte order.
fn parse(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (number, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(number * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn listeners_of_this_machine_are_told_apart() {
        let this = i32::try_from(std::process::id()).unwrap();
        for (address, expected) in [
            ("127.0.0.1:0", true),
            ("127.0.0.53:0", true),
            ("0.0.0.0:0", false),
            ("[::1]:0", true),
            ("[::]:0", false),
            ("[::ffff:127.0.0.1]:0", true),
        ] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            assert_eq!(are_local(this, port), expected, "{address}");
        }
        assert!(!are_local(this, 1));
    }

    #[test]
    fn other_lines_are_skipped() {
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:1F40 00000000:0000 0A\n   1: 0100007F:1F40 \
                     00000000:0000 01\n   2: xyz\n   3: 0100007F:zz 0 0A\n   4: 0é00007:1F40 0 0A\n";
        let here = u32::from_str_radix("0100007F", 16).unwrap().to_ne_bytes();
        assert_eq!(addresses(table, 8000).collect::<Vec<_>>(), [IpAddr::from(Ipv4Addr::from(here))]);
        assert_eq!(addresses(table, 80).count(), 0);
    }
}
