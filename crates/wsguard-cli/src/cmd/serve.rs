//! `wsguard serve`

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use tracing_subscriber::EnvFilter;
use wsguard_server::config::{Loaded, LogFormat};
use wsguard_server::{Listening, ServeOptions, serve};

use super::{Exit, config_file};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration; `wsguard.toml` of the working directory if it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Development: a fresh key, the token `test_token`, the demo page; on loopback only, and behind no proxy.
    #[arg(long)]
    dev: bool,
    /// The public listener, such as 127.0.0.1:3000.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The admin listener, such as 127.0.0.1:3001.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

pub(super) fn run(arguments: Arguments) -> Exit {
    let options = ServeOptions {
        config: config_file(arguments.config),
        dev: arguments.dev,
        listen: arguments.listen,
        admin: arguments.admin,
        on_loaded: announce,
        on_listening: listening,
    };
    match serve(options) {
        Ok(()) => Exit::Good,
        Err(error) => {
            let exit = if error.is_configuration() { Exit::Usage } else { Exit::Failed };
            output::failed(error, exit)
        }
    }
}

/// Prints what the server is about to run with.
fn announce(loaded: &Loaded) {
    log_to_stderr(loaded.config.log.format);
    output::warn(&loaded.warnings);
    output::note(output::limits(&loaded.config.limits_table(), output::width(std::io::stderr())));
}

/// What the server says of itself goes to standard error, in the format of the security log. `RUST_LOG` filters it.
fn log_to_stderr(format: Option<LogFormat>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let json = match format {
        Some(format) => format == LogFormat::Json,
        None => !std::io::stderr().is_terminal(),
    };
    // Whoever embeds the command may have a subscriber already: then theirs stays.
    let _ = if json { lines.json().try_init() } else { lines.try_init() };
}

/// Prints where the server is reached.
fn listening(at: &Listening) {
    let (scheme, page) = if at.tls { ("wss", "https") } else { ("ws", "http") };
    let host =
        if at.listen.ip().is_loopback() { format!("localhost:{}", at.listen.port()) } else { at.listen.to_string() };
    // On loopback the admin listener speaks plain HTTP whatever the public one does; elsewhere it has TLS.
    let admin = if at.admin.ip().is_loopback() { "http" } else { "https" };
    let mut text = format!("endpoint   {scheme}://{host}/ws\nadmin      {admin}://{}\n", at.admin);
    if at.dev {
        let _ = writeln!(text, "demo page  {page}://{host}/\ntoken      test_token (subject `dev`, development only)");
    }
    text.push_str("ready");
    output::note(text);
}
