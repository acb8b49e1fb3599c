//! `bare-loop ADDR`: the least that a server can do for a message: wait, read, unmask, write.
//!
//! It is the benchmark's ceiling and no server. One thread asks the kernel which sockets have something to read, and
//! sends every frame of theirs back. Nothing is checked, there is no runtime and no timer, and a peer that does not read
//! or speaks anything but what `load` speaks is dropped. What another server takes beyond this is its own; what this one
//! takes is the kernel's.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "offsets within one buffer of a loop for the developer's own machine"
)]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use testkit::wire::{HANDSHAKE_ACCEPT, HANDSHAKE_KEY, opcode};

const LISTENER: Token = Token(0);

/// As much as one connection may have sent in part: eight messages of 1.5 KB, and more than `load` has under way.
const INBOX_BYTES: usize = 16 * 1024;

struct Connection {
    stream: TcpStream,
    open: bool,
    inbox: Box<[u8]>,
    filled: usize,
}

/// What became of a connection.
enum Turn {
    GoesOn,
    Over,
}

impl Connection {
    /// Reads once and answers all of it with one write.
    fn turn(&mut self, out: &mut Vec<u8>) -> std::io::Result<Turn> {
        loop {
            let space = self.inbox.get_mut(self.filled..).unwrap_or_default();
            let room = space.len();
            let read = match self.stream.read(space) {
                Ok(0) => return Ok(Turn::Over),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(Turn::GoesOn),
                Err(error) => return Err(error),
            };
            self.filled += read;
            out.clear();
            let (taken, turn) = if self.open { self.echo(out) } else { (self.shake_hands(out), Turn::GoesOn) };
            self.inbox.copy_within(taken..self.filled, 0);
            self.filled -= taken;
            if !out.is_empty() && self.stream.write(out)? != out.len() {
                return Ok(Turn::Over);
            }
            // What left room in the buffer has taken all there was: the next event says when there is more.
            if read < room || matches!(turn, Turn::Over) {
                return Ok(turn);
            }
        }
    }

    /// Answers the request of `load`, whose key is known.
    fn shake_hands(&mut self, out: &mut Vec<u8>) -> usize {
        let request = self.inbox.get(..self.filled).unwrap_or_default();
        if !request.ends_with(b"\r\n\r\n") {
            return 0;
        }
        let asked = memchr::memmem::find(request, HANDSHAKE_KEY.as_bytes()).is_some();
        out.extend_from_slice(if asked {
            b"HTTP/1.1 101 Switching Protocols\r\n"
        } else {
            b"HTTP/1.1 400 Bad Request\r\n"
        });
        out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
        out.extend_from_slice(HANDSHAKE_ACCEPT.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        self.open = asked;
        self.filled
    }

    /// Sends whole frames back; those of 64 KiB and more are longer than the buffer.
    fn echo(&self, out: &mut Vec<u8>) -> (usize, Turn) {
        let mut at = 0;
        let mut turn = Turn::GoesOn;
        while let Some(&[first, second, high, low]) =
            self.inbox.get(at..self.filled).and_then(|rest| rest.first_chunk())
        {
            let (length, header) = match second & 0x7F {
                126 => (usize::from(u16::from_be_bytes([high, low])), 4),
                short => (usize::from(short), 2),
            };
            let Some((mask, payload)) = self
                .inbox
                .get(at + header..(at + header + 4 + length).min(self.filled))
                .and_then(<[u8]>::split_first_chunk::<4>)
            else {
                break;
            };
            if payload.len() < length {
                break;
            }
            out.extend_from_slice(&[first, second & 0x7F]);
            if header == 4 {
                out.extend_from_slice(&[high, low]);
            }
            let payload_at = out.len();
            out.extend_from_slice(payload);
            let mask = u32::from_ne_bytes(*mask);
            let (words, rest) = out.get_mut(payload_at..).unwrap_or_default().as_chunks_mut::<4>();
            for word in words {
                *word = (u32::from_ne_bytes(*word) ^ mask).to_ne_bytes();
            }
            for (byte, key) in rest.iter_mut().zip(mask.to_ne_bytes()) {
                *byte ^= key;
            }
            if first & 0x0F == opcode::CLOSE {
                turn = Turn::Over;
            }
            at += header + 4 + length;
        }
        (at, turn)
    }
}

fn serve(address: &str) -> std::io::Result<()> {
    let address = address.parse().map_err(|error| std::io::Error::other(format!("{address}: {error}")))?;
    let mut listener = TcpListener::bind(address)?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut connections = HashMap::new();
    let mut next = LISTENER.0;
    let mut out = Vec::new();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    next += 1;
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, Token(next), Interest::READABLE)?;
                    let inbox = vec![0; INBOX_BYTES].into_boxed_slice();
                    connections.insert(Token(next), Connection { stream, open: false, inbox, filled: 0 });
                }
            } else if let Some(connection) = connections.get_mut(&event.token())
                && !matches!(connection.turn(&mut out), Ok(Turn::GoesOn))
            {
                connections.remove(&event.token());
            }
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: bare-loop ADDR");
        return ExitCode::from(2);
    };
    match serve(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare-loop: could not serve {address}: {error}");
            ExitCode::from(3)
        }
    }
}
