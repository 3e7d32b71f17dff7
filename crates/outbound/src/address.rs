//! Which addresses belong to the public Internet.
//!
//! Sources: IANA's registries of special-purpose addresses for [IPv4] and [IPv6], with the RFC of each entry below, and
//! the addresses of cloud providers' metadata services. `std` has such predicates only in part
//! (`IpAddr::is_global` is unstable).
//!
//! [IPv4]: https://www.iana.org/assignments/iana-ipv4-special-registry
//! [IPv6]: https://www.iana.org/assignments/iana-ipv6-special-registry

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(address: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(start: [u16; 3], prefix: u8) -> Ipv6Net {
    let [a, b, c] = start;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// IPv4 networks that are not public.
const SPECIAL_V4: &[Ipv4Net] = &[
    v4([0, 0, 0, 0], 8),        // "this network", RFC 791
    v4([10, 0, 0, 0], 8),       // private, RFC 1918
    v4([100, 64, 0, 0], 10),    // shared by a provider's customers, RFC 6598; Alibaba's metadata service
    v4([127, 0, 0, 0], 8),      // loopback, RFC 1122
    v4([168, 63, 129, 16], 32), // Azure's host agent, which is reachable only from a virtual machine
    v4([169, 254, 0, 0], 16),   // link-local, RFC 3927; the metadata services of AWS, Google Cloud, Azure, …
    v4([172, 16, 0, 0], 12),    // private, RFC 1918
    v4([192, 0, 0, 0], 24),     // protocol assignments, RFC 6890; Oracle's metadata service
    v4([192, 0, 2, 0], 24),     // documentation, RFC 5737
    v4([192, 88, 99, 0], 24),   // relays of 6to4, RFC 7526
    v4([192, 168, 0, 0], 16),   // private, RFC 1918
    v4([198, 18, 0, 0], 15),    // benchmarks, RFC 2544
    v4([198, 51, 100, 0], 24),  // documentation, RFC 5737
    v4([203, 0, 113, 0], 24),   // documentation, RFC 5737
    v4([224, 0, 0, 0], 4),      // multicast, RFC 1112
    v4([240, 0, 0, 0], 4),      // reserved and broadcast, RFC 1112 and 919
];

/// Global unicast addresses, RFC 4291. All other IPv6 addresses are special: loopback, unique local (with the metadata
/// service of AWS, `fd00:ec2::254`), link-local, multicast, IPv4-compatible, local NAT64, SRv6.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// Networks inside [`GLOBAL_V6`] that are not public.
const SPECIAL_V6: &[Ipv6Net] = &[
    v6([0x2001, 0, 0], 23),     // protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID
    v6([0x2001, 0xdb8, 0], 32), // documentation, RFC 3849
    v6([0x2002, 0, 0], 16),     // 6to4, RFC 3056: an IPv4 address inside
    v6([0x3ffe, 0, 0], 16),     // returned by the 6bone, RFC 3701
    v6([0x3fff, 0, 0], 20),     // documentation, RFC 9637
];

/// Addresses of the well-known prefix of NAT64, RFC 6052: on networks with IPv6 only, each IPv4 host has one.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0], 96);

/// Whether an address belongs to the public Internet.
///
/// An IPv4-mapped address and an address of the well-known NAT64 prefix are as public as the IPv4 address inside. A
/// NAT64 prefix that a network has chosen itself cannot be recognized.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public(mapped.into());
    }
    if NAT64.contains(&address) {
        let [.., a, b, c, d] = address.octets();
        return is_public(Ipv4Addr::new(a, b, c, d).into());
    }
    GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_edges_of_each_network_are_special_and_their_neighbours_are_not() {
        for (first, last) in [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("168.63.129.16", "168.63.129.16"),
            ("169.254.0.0", "169.254.255.255"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.0.0.0", "192.0.0.255"),
            ("192.0.2.0", "192.0.2.255"),
            ("192.88.99.0", "192.88.99.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("198.18.0.0", "198.19.255.255"),
            ("198.51.100.0", "198.51.100.255"),
            ("203.0.113.0", "203.0.113.255"),
            ("224.0.0.0", "255.255.255.255"),
        ] {
            let (first, last): (Ipv4Addr, Ipv4Addr) =
                (first.parse().expect("an address"), last.parse().expect("an address"));
            for special in [first, last] {
                assert!(!is_public(special.into()), "{special}");
            }
            let neighbours = [first.to_bits().checked_sub(1), last.to_bits().checked_add(1)];
            for neighbour in neighbours.into_iter().flatten().map(Ipv4Addr::from_bits) {
                assert!(is_public(neighbour.into()), "{neighbour}");
            }
        }
    }

    #[test]
    fn special_ipv6_addresses_are_not_public() {
        for special in [
            "::",
            "::1",
            "::7f00:1",
            "::5db8:d822",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::1:5db8:d822",
            "64:ff9b:1::5db8:d822",
            "100::1",
            "1fff:ffff::",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:a00:1::",
            "2002:5db8:d822::",
            "3ffe::1",
            "3fff::1",
            "3fff:fff:ffff::1",
            "4000::",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert!(!is_public(special.parse().expect("an address")), "{special}");
        }
    }

    #[test]
    fn public_addresses_are_public() {
        for public in [
            "1.1.1.1",
            "93.184.216.34",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "::ffff:93.184.216.34",
            "64:ff9b::5db8:d822",
            "2000::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2a00:1450:4001:82b::200e",
            "3ffd:ffff::1",
            "3fff:1000::1",
        ] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
    }

    proptest! {
        #[test]
        fn forms_of_an_ipv4_address_are_never_more_public_than_the_address(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let public = is_public(address.into());
            let known_special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_broadcast() || address.is_documentation() || address.is_multicast()
                || address.is_unspecified();
            prop_assert!(!(public && known_special));
            let [high, low] = [(bits >> 16) as u16, bits as u16];
            prop_assert_eq!(is_public(address.to_ipv6_mapped().into()), public);
            prop_assert_eq!(is_public(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into()), public);
            for form in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, !high, !low),
            ] {
                prop_assert!(!is_public(form.into()), "{}", form);
            }
        }

        #[test]
        fn public_ipv6_addresses_are_global_unicast(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            let known_special = address.is_loopback() || address.is_unspecified() || address.is_multicast()
                || address.is_unique_local() || address.is_unicast_link_local();
            prop_assert!(!(is_public(address.into()) && known_special));
        }
    }
}
