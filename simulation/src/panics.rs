//! Panics of a world: its parts run as tasks, which would hide them.

use std::cell::RefCell;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::app;

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// From now on the panics of worlds are not printed.
pub fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Watches this thread, which forgets what it saw. What the application of a world does on purpose is none.
pub(crate) fn watch() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() == Some(&app::BOOM) {
                return;
            }
            SEEN.with_borrow_mut(|seen| seen.push(panic.to_string()));
            if !IS_QUIET.load(Ordering::Relaxed) {
                before(panic);
            }
        }));
    });
    SEEN.take();
}

/// What panicked since.
pub(crate) fn seen() -> Vec<String> {
    SEEN.take()
}
