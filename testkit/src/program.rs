//! A program of the examples that listens on a free port and says where.

#![expect(clippy::expect_used, clippy::panic, clippy::missing_panics_doc, reason = "for tests")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Program {
    /// Starts `binary` in `directory` with the address to listen on as its argument, and waits for `listening on ADDRESS`.
    pub fn start(binary: &str, directory: &Path) -> Self {
        let mut child = Command::new(binary)
            .arg("127.0.0.1:0")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the example");
        let lines = BufReader::new(child.stderr.take().expect("its standard error")).lines();
        // From here on it is killed and waited for, whatever happens.
        let mut program = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut said = Vec::new();
        for line in lines.map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("listening on ") {
                program.address = address.parse().expect("an address");
                return program;
            }
            said.push(line);
        }
        panic!("the example ended before it listened:\n{}", said.join("\n"));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
