//! Who asks a group coordinator, as groups remember their members.

use std::net::{IpAddr, Ipv4Addr};

use ottla_base::Str;
use ottla_coordinator::group::Client;

use crate::call::Call;

/// The client behind a call.
pub(crate) fn client(call: &Call) -> Client {
    Client {
        id: call.client_id.clone().unwrap_or_default(),
        host: Str::from(host(call.peer.ip())),
        version: call.version,
    }
}

/// An address as Java's `InetAddress.toString` writes one that was never looked up.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => dotted(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => dotted(address),
            None => {
                let groups: Vec<String> = address.segments().iter().map(|it| format!("{it:x}")).collect();
                format!("/{}", groups.join(":"))
            }
        },
    }
}

/// By hand, since it is done for every heartbeat: with the standard library's formatting it was a tenth of one.
fn dotted(address: Ipv4Addr) -> String {
    let mut text = String::with_capacity("/255.255.255.255".len());
    let mut mark = '/';
    for octet in address.octets() {
        text.push(mark);
        mark = '.';
        let digit = |unit: u8| char::from(b'0' + octet / unit % 10);
        if octet >= 100 {
            text.push(digit(100));
        }
        if octet >= 10 {
            text.push(digit(10));
        }
        text.push(digit(1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn addresses_are_written_as_java_does() {
        let written = |text: &str| host(text.parse().expect("an address"));
        assert_eq!(written("127.0.0.1"), "/127.0.0.1");
        assert_eq!(written("255.10.9.100"), "/255.10.9.100");
        assert_eq!(written("::1"), "/0:0:0:0:0:0:0:1");
        assert_eq!(written("2001:db8::ff"), "/2001:db8:0:0:0:0:0:ff");
        assert_eq!(written("::ffff:10.0.0.7"), "/10.0.0.7");
    }
}
