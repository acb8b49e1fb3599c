//! `conformance-echo ADDR`: the driver of wsguard with a policy that passes every message and sends it back.
//!
//! Conformance suites and the benchmark talk to it: what they see is the upgrade, the frame layer and the driver, and
//! nothing of the guard. It judges nobody and is no server for a network.

use std::convert::Infallible;
use std::io::Write as _;
use std::process::ExitCode;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use wsguard::driver::Endpoint;
use wsguard::upgrade::{SmallResponse, drive, strict, switching_protocols};
use wsguard::{Command, Outbox, QueueLimits};
use wsguard_core::effect::Effects;
use wsguard_core::frame::{FrameError, FrameLimits, Opcode, write_close, write_frame};
use wsguard_core::time::{Millis, Now, Tick};
use wsguard_protocol::CloseCode;

/// The allocator of `wsguard`, so that the benchmark compares the same.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the largest cases of Autobahn|Testsuite need: messages of 16 MiB, in fragments of 64 bytes, behind many pings.
const LIMITS: FrameLimits = FrameLimits {
    message_bytes_max: 16 * 1024 * 1024,
    fragments_max: 1_000_000,
    control_burst: 1_000_000,
    control_per_second: 1_000_000,
    binary: true,
};

/// Sends every message back.
#[derive(Debug, Default)]
struct Echo {
    over: bool,
}

impl Echo {
    fn close(&mut self, code: u16, effects: &mut Effects) {
        if !self.over {
            write_close(&mut effects.out, code, "");
            self.over = true;
        }
    }
}

impl Endpoint for Echo {
    fn limits(&self) -> &FrameLimits {
        &LIMITS
    }

    fn opened(&mut self, _: Now, _: &mut Effects) {}

    fn text(&mut self, _: Now, text: &str, effects: &mut Effects) {
        write_frame(&mut effects.out, Opcode::Text, text.as_bytes());
    }

    fn binary(&mut self, _: Now, bytes: &[u8], effects: &mut Effects) {
        write_frame(&mut effects.out, Opcode::Binary, bytes);
    }

    fn pinged(&mut self, _: Now) {}

    fn ponged(&mut self, _: Now) {}

    fn peer_closed(&mut self, code: Option<u16>, effects: &mut Effects) {
        self.close(code.unwrap_or(CloseCode::Normal.number()), effects);
    }

    fn broken(&mut self, error: FrameError, effects: &mut Effects) {
        self.close(error.close_code(), effects);
    }

    fn overdue(&mut self, effects: &mut Effects) {
        self.close(CloseCode::PolicyViolation.number(), effects);
    }

    fn stalled(&mut self, effects: &mut Effects) {
        self.close(CloseCode::TryLater.number(), effects);
    }

    fn command(&mut self, _: Now, command: Command, effects: &mut Effects) {
        if let Command::Close(code, _) = command {
            self.close(code.number(), effects);
        }
    }

    fn deadline(&self) -> Tick {
        Tick::NEVER
    }

    fn due(&mut self, _: Now, _: &mut Effects) {}

    fn message_time_max(&self) -> Millis {
        Millis(60_000)
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

async fn answer(request: Request<Incoming>) -> Result<SmallResponse, Infallible> {
    let (mut parts, _) = request.into_parts();
    let accepted = strict(&parts).map_err(|refusal| refusal.status);
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let (accept, upgrade) = match (accepted, upgrade) {
        (Ok(accept), Some(upgrade)) => (accept, upgrade),
        (refused, _) => {
            let status = refused.err().and_then(|status| StatusCode::from_u16(status).ok());
            let mut response = SmallResponse::default();
            *response.status_mut() = status.unwrap_or(StatusCode::BAD_REQUEST);
            return Ok(response);
        }
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            drive(upgraded, Outbox::new(QueueLimits::default()), Echo::default());
        }
    });
    Ok(switching_protocols(accept))
}

async fn serve(address: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            // What goes wrong before the upgrade is the peer's business and has been answered.
            let _ = connection.with_upgrades().await;
        });
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: conformance-echo ADDR");
        return ExitCode::from(2);
    };
    // The switch of `wsguard serve`, for the same reason: one thread is measured against one thread.
    let single = std::env::var("WSGUARD_SERVER__WORKERS").is_ok_and(|workers| workers == "1");
    let mut builder = if single {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    match builder.enable_all().build().and_then(|runtime| runtime.block_on(serve(&address))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-echo: could not serve {address}: {error}");
            ExitCode::from(3)
        }
    }
}
