//! The ports that a process listens on, as Linux tells them. Elsewhere nobody is asked, and none is found.

use std::collections::BTreeSet;
use std::fs;

/// The state `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The TCP ports on which process `id` listens.
pub(super) fn ports(id: u32) -> Vec<u16> {
    let Ok(entries) = fs::read_dir(format!("/proc/{id}/fd")) else { return Vec::new() };
    let inodes: BTreeSet<String> = entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut ports: Vec<u16> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{id}/net/{table}")).ok())
        .flat_map(|table| table.lines().filter_map(|line| listening(line, &inodes)).collect::<Vec<_>>())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The port of a line of the table, where it is a listener of one of `inodes`.
fn listening(line: &str, inodes: &BTreeSet<String>) -> Option<u16> {
    let mut fields = line.split_whitespace();
    let (local, state) = (fields.nth(1)?, fields.nth(1)?);
    let inode = fields.nth(5)?;
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (state == LISTEN && inodes.contains(inode)).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = ports(std::process::id());
        assert!(found.contains(&port) || !cfg!(target_os = "linux"), "{port} in {found:?}");
        drop(listener);
        assert!(!ports(std::process::id()).contains(&port));
    }
}
