//! Ctrl-C and what else asks a run to end: noticed at once, acted on where everything can still be taken back.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From here on SIGINT, SIGTERM and SIGHUP do not end the process; they are remembered.
pub(crate) fn listen() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} _ = hangup.recv() => {} }
                ASKED.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}

/// Whether the run was asked to end.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Until the run is asked to end.
pub(crate) async fn wait() {
    while !asked() {
        tokio::time::sleep(super::child::LOOK_EVERY).await;
    }
}
