//! Which addresses a client may connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses a client may connect to. Names are resolved first, and only what was looked at is connected to, so that a name cannot
/// change in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Addresses {
    /// All of them.
    #[default]
    Any,
    /// Those of the public internet alone: no loopback, private, link-local or otherwise special one. For URLs that strangers give, who
    /// could have this machine call its own network for them.
    Public,
}

impl Addresses {
    /// Whether an address is one of these.
    pub fn allow(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Any, _) => true,
            (Self::Public, IpAddr::V4(address)) => is_public_v4(address),
            (Self::Public, IpAddr::V6(address)) => is_public_v6(address),
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || first == 0
        || first >= 240
        || (first == 100 && (64..128).contains(&second))
        || (first == 192 && second == 0 && third == 0)
        || (first == 192 && second == 88 && third == 99)
        || (first == 198 && (18..20).contains(&second));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let part = address.segments();
    // Global unicast alone, and of that nothing that stands for an address of IPv4 or is kept for examples: such an address may lead to
    // the network behind a gateway.
    let global = (0x2000..0x4000).contains(&part[0]);
    let special =
        part[0] == 0x2002 || (part[0] == 0x2001 && (part[1] < 0x200 || part[1] == 0xdb8)) || part[0] == 0x3fff;
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "::127.0.0.1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(!Addresses::Public.allow(address), "{address}");
            assert!(Addresses::Any.allow(address), "{address}");
        }
        for address in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::1"]
        {
            let address: IpAddr = address.parse().unwrap();
            assert!(Addresses::Public.allow(address), "{address}");
        }
    }
}
