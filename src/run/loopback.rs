//! Brings up the loopback device of a new network namespace, by rtnetlink(7).

use std::io;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket};

/// The index of the loopback device, the first of a namespace.
const LOOPBACK_INDEX: i32 = 1;
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;

/// Brings up the loopback device.
pub(super) fn bring_up() -> io::Result<()> {
    // The default protocol is `NETLINK_ROUTE`.
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    sendto(&socket, &request(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut response = [0; 256];
    let (got, _) = recv(&socket, &mut response, RecvFlags::empty())?;
    error_of(response.get(..got).unwrap_or_default())
}

/// Returns a message of `struct nlmsghdr` and `struct ifinfomsg`.
fn request() -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message.extend([0; 8]);
    // Family, padding and type are unspecified.
    message.extend([0; 4]);
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message
}

/// Returns the error of an acknowledgment: a negative number, or 0.
fn error_of(response: &[u8]) -> io::Result<()> {
    let number = |at: usize, length: usize| response.get(at..at + length);
    let kind = number(4, 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = number(16, 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_kernels_form() {
        assert_eq!(request().len(), 32);
        let acknowledgment = |error: i32| {
            let mut message = vec![0; 36];
            message[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            message[16..20].copy_from_slice(&error.to_ne_bytes());
            message
        };
        assert!(error_of(&acknowledgment(0)).is_ok());
        assert_eq!(error_of(&acknowledgment(-1)).unwrap_err().raw_os_error(), Some(1));
        assert!(error_of(&acknowledgment(0)[..10]).is_err());
    }
}
