//! The client of a request, as trusted proxies name it: `X-Forwarded-For`, and `Forwarded` (RFC
//! 7239).
//!
//! Each proxy appends the address that it received the request from. So both headers are read from
//! their end, for as long as the address is a trusted proxy's. Earlier entries can be forged, and so
//! can everything before a malformed entry.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, header};

use crate::admission::Client;
use crate::limits::{ForwardedHeader, Network};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request that came over a connection from `peer`.
pub(super) fn client(
    peer: Client,
    headers: &HeaderMap,
    trusted: &[Network],
    believed: ForwardedHeader,
) -> Client {
    if !peer.is_one_of(trusted) {
        return peer;
    }
    let x_forwarded_for = || {
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        walk(peer, trusted, entries.map(|entry| node(unquoted(trimmed(entry)))))
    };
    let forwarded = || {
        let lines = headers.get_all(header::FORWARDED).iter().rev();
        // A malformed line tells nothing, and ends the walk.
        let nodes = lines.flat_map(|line| nodes(line.as_bytes()).unwrap_or_else(|| vec![None]));
        walk(peer, trusted, nodes)
    };
    match believed {
        ForwardedHeader::XForwardedFor => x_forwarded_for(),
        ForwardedHeader::Forwarded => forwarded(),
        ForwardedHeader::Either => {
            let has = |name: &HeaderName| headers.contains_key(name);
            match (has(&X_FORWARDED_FOR), has(&header::FORWARDED)) {
                (_, false) => x_forwarded_for(),
                (false, true) => forwarded(),
                (true, true) => {
                    // A proxy that sets one of them passes on the other as the client wrote it.
                    let (one, other) = (x_forwarded_for(), forwarded());
                    if one == other { one } else { peer }
                }
            }
        }
    }
}

/// Follows the proxies' entries, the last one first. `None` is an entry without an address.
fn walk(peer: Client, trusted: &[Network], said: impl Iterator<Item = Option<IpAddr>>) -> Client {
    let mut client = peer;
    for address in said {
        if !client.is_one_of(trusted) {
            break;
        }
        let Some(address) = address else { break };
        client = Client::Ip(address);
    }
    client
}

/// The `for` of each element of a line of `Forwarded`, the last one first; `None` for one without
/// an address. Nothing if the line is not well-formed: in a line of which a client wrote the
/// beginning, an open quotation mark must not swallow what the proxy added.
fn nodes(line: &[u8]) -> Option<Vec<Option<IpAddr>>> {
    let mut rest = line;
    let mut nodes = Vec::new();
    let mut element = Element::default();
    loop {
        rest = trimmed_start(rest);
        match rest.split_first() {
            None => break,
            Some((b',', after)) => {
                nodes.push(std::mem::take(&mut element).address());
                rest = after;
            }
            Some((b';', after)) => rest = after,
            Some(_) => {
                let (name, after) = rest.split_at(rest.iter().position(|byte| *byte == b'=')?);
                let (value, after) = value(&after[1..])?;
                if name.is_empty() || !name.iter().copied().all(is_token) {
                    return None;
                }
                if name.eq_ignore_ascii_case(b"for") {
                    element.add(node(&value));
                }
                rest = trimmed_start(after);
                if !matches!(rest.first(), None | Some(b',' | b';')) {
                    return None;
                }
            }
        }
    }
    nodes.push(element.address());
    nodes.reverse();
    Some(nodes)
}

/// The origin of the request in one element of `Forwarded`.
#[derive(Default)]
struct Element(Vec<Option<IpAddr>>);

impl Element {
    fn add(&mut self, node: Option<IpAddr>) {
        self.0.push(node);
    }

    /// A parameter occurs once (RFC 7239, section 4).
    fn address(self) -> Option<IpAddr> {
        match self.0[..] {
            [address] => address,
            _ => None,
        }
    }
}

/// A value and the text after it. Without quotation marks it may have the colons and brackets of an
/// address, which a token may not have, since some proxies write it so.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let is_end = |byte: &u8| matches!(byte, b',' | b';' | b' ' | b'\t');
        let (value, rest) = text.split_at(text.iter().position(is_end).unwrap_or(text.len()));
        let is_well_formed = !value.is_empty() && !value.contains(&b'"');
        return is_well_formed.then(|| (value.to_vec(), rest));
    };
    let mut value = Vec::new();
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((value, rest)),
            b'\\' => {
                let (escaped, after) = rest.split_first()?;
                value.push(*escaped);
                rest = after;
            }
            byte => value.push(*byte),
        }
    }
}

/// The address of a node: alone or with a port, IPv6 also in brackets and with a zone. `unknown`
/// and names that hide an address have none.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let (address, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        (IpAddr::V6(v6(address)?), port)
    } else {
        match text.split_once(':') {
            None => (IpAddr::V4(text.parse().ok()?), None),
            // Without brackets IPv6 has no port.
            Some((_, rest)) if rest.contains(':') => (IpAddr::V6(v6(text)?), None),
            Some((address, port)) => (IpAddr::V4(address.parse().ok()?), Some(port)),
        }
    };
    port.is_none_or(is_port).then(|| address.to_canonical())
}

/// An IPv6 address, perhaps with the name of an interface.
fn v6(text: &str) -> Option<Ipv6Addr> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let is_zone = |zone: &str| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-%".contains(&byte);
        !zone.is_empty() && zone.bytes().all(is_name)
    };
    address.parse().ok().filter(|_| zone.is_none_or(is_zone))
}

/// A number, or a name that hides it (RFC 7239, section 6).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !name.is_empty() && name.bytes().all(is_name)
        }
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Without the quotation marks around it.
fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text)
}

fn trimmed(text: &[u8]) -> &[u8] {
    let mut text = trimmed_start(text);
    while let Some((b' ' | b'\t', before)) = text.split_last() {
        text = before;
    }
    text
}

fn trimmed_start(mut text: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t', after)) = text.split_first() {
        text = after;
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const PROXY: &str = "127.0.0.1";

    fn of(believed: ForwardedHeader, peer: &str, lines: &[(&str, &str)]) -> String {
        let trusted: Vec<Network> = ["127.0.0.0/8", "10.0.0.1", "2001:db8:ffff::/48", "unix"]
            .iter()
            .map(|one| one.parse().unwrap())
            .collect();
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let peer = peer.parse().map_or(Client::Unix, Client::Ip);
        match client(peer, &headers, &trusted, believed) {
            Client::Ip(address) => address.to_string(),
            Client::Unix => "unix".to_owned(),
        }
    }

    fn check(peer: &str, lines: &[&str], expected: &str) {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        for believed in [ForwardedHeader::Either, ForwardedHeader::XForwardedFor] {
            assert_eq!(of(believed, peer, &lines), expected, "{lines:?}");
        }
        assert_eq!(of(ForwardedHeader::Forwarded, peer, &lines), peer, "{lines:?}");
    }

    fn check_forwarded(lines: &[&str], expected: &str) {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        for believed in [ForwardedHeader::Either, ForwardedHeader::Forwarded] {
            assert_eq!(of(believed, PROXY, &lines), expected, "{lines:?}");
        }
        assert_eq!(of(ForwardedHeader::XForwardedFor, PROXY, &lines), PROXY, "{lines:?}");
    }

    #[test]
    fn only_trusted_proxies_name_the_client() {
        check(PROXY, &[], PROXY);
        check(PROXY, &["192.0.2.7"], "192.0.2.7");
        check(PROXY, &["192.0.2.7, 10.0.0.1"], "192.0.2.7");
        check(PROXY, &["203.0.113.9, 192.0.2.7"], "192.0.2.7");
        check(PROXY, &["203.0.113.9", "192.0.2.7, 10.0.0.1"], "192.0.2.7");
        check("192.0.2.7", &["203.0.113.9"], "192.0.2.7");
        check("unix", &["203.0.113.9, 192.0.2.7"], "192.0.2.7");
        check("unix", &["unix:"], "unix");
    }

    #[test]
    fn addresses_are_understood_as_balancers_write_them() {
        for (written, expected) in [
            ("192.0.2.7:567", "192.0.2.7"),
            ("\"192.0.2.7:567\"", "192.0.2.7"),
            ("  192.0.2.7\t", "192.0.2.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:567", "2001:db8::1"),
            ("\"[2001:DB8::1]:567\"", "2001:db8::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:567", "192.0.2.7"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:567", "fe80::1"),
        ] {
            check(PROXY, &[written], expected);
            check(PROXY, &[&format!("203.0.113.9, {written}, 10.0.0.1:80")], expected);
            check(PROXY, &["203.0.113.9", written, "[2001:db8:ffff::5]:80"], expected);
        }
    }

    #[test]
    fn elements_before_an_invalid_one_are_ignored() {
        for garbage in [
            "",
            " ",
            "unknown",
            "_hidden",
            "nonsense",
            "\"",
            "\"192.0.2.7",
            "192.0.2.7\"",
            "192.0.2.7:",
            "192.0.2.7:65536",
            "192.0.2.7:+80",
            "192.0.2.7:80:80",
            "192.0.2",
            "192.0.2.07",
            "192.0.2.7.",
            "[192.0.2.7]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]80",
            "[2001:db8::1]:",
            "fe80::1%",
            "fe80::1%a b",
            "192.0.2.7%eth0",
            "192.0.2.7 192.0.2.8",
            "http://192.0.2.7",
            "for=192.0.2.7",
            "unix:",
            "\u{e9}",
        ] {
            check(PROXY, &[garbage], PROXY);
            check(PROXY, &[&format!("203.0.113.9, {garbage}")], PROXY);
            check(PROXY, &[&format!("203.0.113.9,{garbage},10.0.0.1")], "10.0.0.1");
            check(PROXY, &["203.0.113.9", garbage], PROXY);
            // Text that a client invents stands before the proxy's addition.
            check(PROXY, &[&format!("{garbage}, 192.0.2.7")], "192.0.2.7");
            check(PROXY, &[garbage, "192.0.2.7"], "192.0.2.7");
        }
    }

    #[test]
    fn forwarded_is_understood_as_rfc_7239_writes_it() {
        for (element, expected) in [
            ("for=192.0.2.7", "192.0.2.7"),
            ("For=192.0.2.7;proto=http;by=203.0.113.43", "192.0.2.7"),
            ("proto=https; FOR=192.0.2.7 ; host=\"a,b;for=203.0.113.9\"", "192.0.2.7"),
            ("for=\"192.0.2.7:567\"", "192.0.2.7"),
            ("for=192.0.2.7:567", "192.0.2.7"),
            ("for=\"192.0.2.7:_port\"", "192.0.2.7"),
            ("for=\"[2001:db8::1]:1234\"", "2001:db8::1"),
            ("for=\"[2001:db8::1]\"", "2001:db8::1"),
            ("for=[2001:db8::1]:1234", "2001:db8::1"),
            ("for=\"[2001:db8::1\\]\"", "2001:db8::1"),
            ("for=\"::ffff:192.0.2.7\"", "192.0.2.7"),
            (";for=192.0.2.7;", "192.0.2.7"),
        ] {
            check_forwarded(&[element], expected);
            check_forwarded(&[&format!("for=203.0.113.9 , {element}, for=10.0.0.1")], expected);
            check_forwarded(&["for=203.0.113.9", element, "for=\"10.0.0.1:80\";by=_x"], expected);
        }
    }

    #[test]
    fn a_client_that_opens_a_quotation_mark_swallows_nothing() {
        for garbage in [
            "",
            "for=",
            "for=unknown",
            "for=_hidden",
            "for=\"_hidden\"",
            "proto=http",
            "by=192.0.2.7",
            "192.0.2.7",
            "for=192.0.2.7;for=192.0.2.8",
            "for=192.0.2.7 192.0.2.8",
            "for =192.0.2.7",
            "=192.0.2.7",
            "for=\"192.0.2.7",
            "for=\"192.0.2.7\\",
            "for=192.0.2.7\"",
            "for=\"192.0.2.7\"x",
            "for=\"192.0.2.7\"\"",
        ] {
            check_forwarded(&[garbage], PROXY);
            check_forwarded(&[&format!("for=203.0.113.9, {garbage}")], PROXY);
            check_forwarded(&["for=203.0.113.9", garbage], PROXY);
            check_forwarded(&[garbage, "for=192.0.2.7"], "192.0.2.7");
        }
        for forged in [
            "for=203.0.113.9;x=\"",
            "for=203.0.113.9, for=\"",
            "for=203.0.113.9, for=\"\\",
            "for=203.0.113.9, for=\"a\\\"",
            "for=203.0.113.9, \"",
        ] {
            for added in [
                "for=192.0.2.7",
                "for=\"[2001:db8::1]:1234\"",
                "for=\"192.0.2.7\";by=\"10.0.0.1\";host=\",for=203.0.113.9,\"",
            ] {
                check_forwarded(&[&format!("{forged}, {added}")], PROXY);
            }
        }
    }

    #[test]
    fn two_headers_that_contradict_each_other_are_both_ignored() {
        let both = |believed, one, other| {
            of(believed, PROXY, &[("x-forwarded-for", one), ("forwarded", other)])
        };
        let real = "192.0.2.7";
        // A proxy sets one of them, and its client invents the other.
        for (one, other) in [(real, "for=203.0.113.9"), ("203.0.113.9", "for=192.0.2.7")] {
            assert_eq!(both(ForwardedHeader::Either, one, other), PROXY);
        }
        assert_eq!(both(ForwardedHeader::XForwardedFor, real, "for=203.0.113.9"), real);
        assert_eq!(both(ForwardedHeader::Forwarded, "203.0.113.9", "for=192.0.2.7"), real);
        assert_eq!(both(ForwardedHeader::Either, "192.0.2.7:80", "for=\"192.0.2.7:81\""), real);
        assert_eq!(both(ForwardedHeader::Either, "", "for=192.0.2.7"), PROXY);
    }
}
