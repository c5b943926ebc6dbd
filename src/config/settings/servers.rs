//! Whether a text is a list of ZooKeeper servers: `host[:port],…[/chroot]`. Pure; resolves no name.

use crate::config::spec::ZnodePath;

/// What such a list looks like, for a `help:` line.
pub(super) const FORM: &str =
    "write host:port, several with commas, and a chroot at the end, such as \"zk1:2181,zk2:2181/chroot\"";

/// Checks a list of servers.
///
/// # Errors
/// What is wrong with it: lower case, no full stop.
pub(super) fn check(text: &str) -> Result<(), String> {
    let (hosts, chroot) = match text.find('/') {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    if let Some(chroot) = chroot.filter(|chroot| *chroot != "/") {
        ZnodePath::try_from(chroot)
            .map_err(|why| format!("the chroot {chroot:?} is no znode path: {why}"))?;
    }
    if hosts.is_empty() {
        return Err("no server is named".into());
    }
    hosts.split(',').try_for_each(check_server)
}

fn check_server(server: &str) -> Result<(), String> {
    let (host, port) = if let Some(rest) = server.strip_prefix('[') {
        let (address, rest) =
            rest.split_once(']').ok_or_else(|| format!("the '[' of {server:?} is not closed"))?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| format!("{address:?} is not an IPv6 address"))?;
        match rest.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None if rest.is_empty() => (address, None),
            None => return Err(format!("{rest:?} after the ']' of {server:?} is no port")),
        }
    } else {
        match server.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(format!("{server:?} has several ':'; an IPv6 address goes in brackets"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        }
    };
    if host.is_empty() {
        return Err(format!("{server:?} names no host"));
    }
    if let Some(c) =
        host.chars().find(|&c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':')))
    {
        return Err(format!("{c:?} cannot be in the name of a host"));
    }
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok(()),
        Some(Ok(0) | Err(_)) => Err(format!("the port of {server:?} must be from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_servers_may_have_ports_and_a_chroot() {
        for text in ["zk1", "zk1:2181", "a:1,b:2,c:3/x/y", "[::1]:2181,10.0.0.1", "[fe80::1]", "zk1/"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_list_of_servers_is_refused() {
        for text in [
            "", "/chroot", "a,", ",a", ":2181", "a:", "a:0", "a:65536", "a:x", "::1", "[::1", "[x]:1",
            "[::1]x", "a b", "a/x/", "a/x//y", "a;b", "http://a",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
